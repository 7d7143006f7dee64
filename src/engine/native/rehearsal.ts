import type { Kernels, LoadedKernels } from '../../../kernels/binding/kernels.js';
import type { ModelConfig } from '../../model-files/config.js';
import { Arena, ELEMENT_BYTES, type Elements } from './arena.js';
import { elements, ParameterSet } from './parameters.js';

/** What a pass works on. */
export interface PassCore {
  readonly kernels: Kernels;
  readonly arena: Arena;
  /** What a request keeps from pass to pass; the memory stays for the next one. */
  readonly lasting: Arena;
  readonly parameters: ParameterSet;
  readonly config: ModelConfig;
}

/** Memory that a pass takes. */
export interface Footprint {
  /** The most of each type that the pass holds in its arena at one time. */
  readonly arena: Elements;
  /** The same of what outlasts its passes, such as caches. */
  readonly lasting: Elements;
  /** Bytes of scratch that the most demanding operation shares with all others. */
  readonly workspaceBytes: number;
}

/** Bytes of the model's tensors. */
export interface ResidentBytes {
  /** As opened: what computes and the masters. */
  readonly opened: number;
  /** With gradients and moments. */
  readonly training: number;
}

const nothing = (): void => {};

/**
 * Walks passes for the memory they will take, without taking it: the very code that runs them, over kernels that only rehearse. What a pass does later than at
 * its writing is therefore counted too.
 */
export class Rehearsal {
  readonly resident: ResidentBytes;
  private readonly parameters: ParameterSet;

  constructor(
    private readonly kernels: LoadedKernels,
    private readonly config: ModelConfig,
  ) {
    let bytes = 0;
    this.parameters = new ParameterSet(this.counting((more) => (bytes += more)), config);
    const opened = bytes;
    this.parameters.startTraining();
    this.resident = { opened, training: bytes };
  }

  /** @param pass what is to be walked. It must end by itself: what it reads from tensors are zeros. */
  async of(pass: (core: PassCore) => Promise<unknown>): Promise<Footprint> {
    const { rehearsal } = this.kernels;
    const [arena, lasting] = [new Arena(rehearsal), new Arena(rehearsal)];
    rehearsal.workspaceBytes();
    try {
      await pass({ kernels: this.counting(nothing), arena, lasting, parameters: this.parameters, config: this.config });
      return { arena: arena.peak, lasting: lasting.peak, workspaceBytes: rehearsal.workspaceBytes() };
    } finally {
      arena.free();
      lasting.free();
    }
  }

  free(): void {
    this.parameters.free();
  }

  // Products would compute, since not all run on threads of ours, and ask for no scratch that is shared. Nothing computed is nothing to be read.
  private counting(onAllocated: (bytes: number) => void): Kernels {
    const { rehearsal } = this.kernels;
    return {
      ...rehearsal,
      alloc: (dtype, shape) => {
        onAllocated(elements(shape) * ELEMENT_BYTES[dtype]);
        return rehearsal.alloc(dtype, shape);
      },
      read: nothing,
      linearForward: nothing,
      linearPacked: nothing,
      gatedLinear: nothing,
      linearBackwardInput: nothing,
      linearBackwardWeight: nothing,
    };
  }
}

import type { Tensor } from '../../../kernels/binding/kernels.js';
import type { Parameter } from './parameters.js';
import type { PassCore } from './rehearsal.js';

/** Which weights. */
export interface PackedScope {
  /** Whether `Operations.linear` multiplies by the head, too. */
  readonly withHead: boolean;
}

/**
 * The weights of a decoder's products once more, in the order in which products of few rows read them: bf16, two bytes a parameter. Made where many such products
 * follow with the same weights; results keep their bits.
 */
export class PackedWeights {
  private readonly tensors = new Map<Parameter, Tensor>();
  private readonly gated = new Map<Parameter, Tensor>();

  /** Packs them into the lasting arena: valid until that is reset. */
  constructor({ kernels, lasting, parameters }: Pick<PassCore, 'kernels' | 'lasting' | 'parameters'>, scope: PackedScope) {
    for (const { parameter, isGated, elements } of packingOf({ kernels, parameters }, scope)) {
      const packed = lasting.take('bf16', [elements]);
      (isGated ? this.gated : this.tensors).set(parameter, packed);
      if (isGated) kernels.packGated(parameter.weight, packed);
      else kernels.packWeight(parameter.weight, packed);
    }
  }

  /** How many elements they take. */
  static elements(core: Pick<PassCore, 'kernels' | 'parameters'>, scope: PackedScope): number {
    return packingOf(core, scope).reduce((sum, { elements }) => sum + elements, 0);
  }

  /** For `linearPacked`. */
  of(weight: Parameter): Tensor | undefined {
    return this.tensors.get(weight);
  }

  /** For `gatedLinear`; a weight packed so is not packed for `linearPacked`. */
  gatedOf(weight: Parameter): Tensor | undefined {
    return this.gated.get(weight);
  }
}

interface Packing {
  readonly parameter: Parameter;
  /** Whether the product ends in the gated unit. */
  readonly isGated: boolean;
  readonly elements: number;
}

function packingOf({ kernels, parameters: { layers, head } }: Pick<PassCore, 'kernels' | 'parameters'>, { withHead }: PackedScope): Packing[] {
  const plain = (parameter: Parameter): Packing => ({ parameter, isGated: false, elements: kernels.packedElements(parameter.shape[0], parameter.shape[1]) });
  const gated = (parameter: Parameter): Packing => {
    const elements = kernels.packedGatedElements(parameter.shape[0] / 2, parameter.shape[1]);
    return elements > 0 ? { parameter, isGated: true, elements } : plain(parameter);
  };
  const weights = layers.flatMap(({ qkv, out, gateUp, down }) => [plain(qkv), plain(out), gated(gateUp), plain(down)]);
  return withHead ? [...weights, plain(head)] : weights;
}

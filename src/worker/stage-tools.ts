import type { InterchangeRunner } from '../distillation/interchange-check.js';
import type { Engine } from '../engine/engine.js';
import { HostedEngine } from '../engine/host/hosted-engine.js';
import { isDeviceTaken, reapLeftovers } from '../engine/host/leftovers.js';
import { runInterchange } from '../model-files/onnx/run-interchange.js';

/** How a stage's engine is started. */
export interface EngineRequest {
  readonly modelDir: string;
  readonly implementation: 'native' | 'reference';
  readonly threads: number;
  /** Taken for this engine alone. */
  readonly device: string;
  /** Silence of this process after which the engine kills itself, milliseconds. */
  readonly hostSilenceMs: number;
  /** Fires when the engine is to be killed. */
  readonly killSignal: AbortSignal;
  readonly onWarning: (message: string) => void;
}

/** What computes for a worker, which never does so itself. */
export abstract class StageTools {
  /** Whether an engine could have the device now; engines of workers that are gone are killed first. @param onReaped told of each, by its process id. */
  abstract isDeviceFree(device: string, onReaped: (pid: number) => void): Promise<boolean>;
  abstract openEngine(request: EngineRequest): Promise<Engine>;
  abstract readonly runInterchange: InterchangeRunner;
}

/** Engines in processes of their own, the ONNX model in a thread of its own. */
export class HostedTools extends StageTools {
  override readonly runInterchange: InterchangeRunner;

  /** @param entries of the compiled tree, where this is not part of one. */
  constructor(private readonly entries: { readonly engine?: string; readonly interchange?: string } = {}) {
    super();
    this.runInterchange = (job) => runInterchange(job, entries.interchange);
  }

  override async isDeviceFree(device: string, onReaped: (pid: number) => void): Promise<boolean> {
    for (const pid of await reapLeftovers(device)) onReaped(pid);
    return !isDeviceTaken(device);
  }

  override openEngine({ killSignal, onWarning, ...engine }: EngineRequest): Promise<Engine> {
    return HostedEngine.start({ engine, entry: this.entries.engine, killSignal, onWarning });
  }
}

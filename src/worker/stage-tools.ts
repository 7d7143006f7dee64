import type { InterchangeRunner } from '../distillation/interchange-check.js';
import type { Engine } from '../engine/engine.js';
import { HostedEngine } from '../engine/host/hosted-engine.js';
import { runInterchange } from '../model-files/onnx/run-interchange.js';

/** How a stage's engine is started. */
export interface EngineRequest {
  readonly modelDir: string;
  readonly implementation: 'native' | 'reference';
  readonly threads: number;
  readonly onWarning: (message: string) => void;
}

/** What computes for a worker, which never does so itself. */
export abstract class StageTools {
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

  override openEngine({ modelDir, implementation, threads, onWarning }: EngineRequest): Promise<Engine> {
    return HostedEngine.start({ engine: { implementation, modelDir, threads }, entry: this.entries.engine, onWarning });
  }
}

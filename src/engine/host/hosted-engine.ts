import { fileURLToPath } from 'node:url';
import type { PackedBatch } from '../../tokens/batch.js';
import type { LossSpec, LossSums } from '../../tokens/loss.js';
import type { TargetBlock } from '../../tokens/target.js';
import { Engine, type CheckpointRef, type Completion, type EngineInfo, type MemoryForecast, type OptimStep, type SampleRequest, type SavedCheckpoint, type ScoreRequest, type TrainOptions, type Work } from '../engine.js';
import { EngineProcess } from './engine-process.js';
import { engineArguments } from './leftovers.js';
import type { EngineOptions } from './protocol.js';

/** How to start an engine in a process of its own. */
export interface HostOptions {
  readonly engine: EngineOptions;
  /** The compiled entry; the default is the `main.engine.js` of this build. */
  readonly entry?: string;
  /** Variables for the process beyond the thread settings; default none. Nothing else is inherited. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Milliseconds between the request to end and the kill; default 5000. */
  readonly closeMs?: number;
  /** Milliseconds of silence after which a working process is killed as hung; default 600,000. It shows life between layers, at least each second. */
  readonly silenceMs?: number;
  /** Kills the process at once when it fires, whatever it is doing; default never. */
  readonly killSignal?: AbortSignal;
  /** What the engine wants an operator to know, for example that a resume is not exact. Default: dropped. */
  readonly onWarning?: (message: string) => void;
}

/** Of the host, in the longest silence that its engine bears. */
const BEATS = 8;

/**
 * An engine in a child process: a crash there kills nothing here. Errors arrive with the code, kind and message they were raised with;
 * the death of the process surfaces as `EngineFailed` from every pending and later call.
 */
export class HostedEngine extends Engine {
  private constructor(private readonly remote: EngineProcess) {
    super();
  }

  /** Starts the process and opens the model. @throws what opening threw; the process is gone then. */
  static async start(options: HostOptions): Promise<HostedEngine> {
    const { hostSilenceMs, device } = options.engine;
    const remote = new EngineProcess({
      entry: options.entry ?? fileURLToPath(new URL('../../main.engine.js', import.meta.url)),
      args: engineArguments(device),
      threads: options.engine.threads,
      environment: options.environment ?? {},
      closeMs: options.closeMs ?? 5_000,
      silenceMs: options.silenceMs ?? 600_000,
      beatMs: hostSilenceMs === undefined ? undefined : Math.max(1, hostSilenceMs / BEATS),
      killSignal: options.killSignal,
      onWarning: options.onWarning ?? (() => {}),
    });
    try {
      await remote.call({ method: 'open', options: options.engine });
    } catch (error) {
      await remote.end();
      throw error;
    }
    return new HostedEngine(remote);
  }

  /** The id of the engine's process. */
  get pid(): number | undefined {
    return this.remote.pid;
  }

  forward(batch: PackedBatch, loss: LossSpec, signal?: AbortSignal): Promise<LossSums> {
    return answered(this.remote.call({ method: 'forward', batch, loss }, signal));
  }

  forwardBackward(batch: PackedBatch, loss: LossSpec, normalizer: number, { recompute, signal }: TrainOptions = {}): Promise<LossSums> {
    return answered(this.remote.call({ method: 'forwardBackward', batch, loss, normalizer, recompute }, signal));
  }

  optimStep(step: OptimStep): Promise<{ readonly gradNorm: number }> {
    return answered(this.remote.call({ method: 'optimStep', step }));
  }

  sample(request: SampleRequest, signal?: AbortSignal): AsyncIterable<Completion> {
    return streamed(this.remote.stream({ method: 'sample', request }, signal));
  }

  score(request: ScoreRequest, signal?: AbortSignal): AsyncIterable<TargetBlock> {
    return streamed(this.remote.stream({ method: 'score', request }, signal));
  }

  save(dir: string): Promise<SavedCheckpoint> {
    return answered(this.remote.call({ method: 'save', dir }));
  }

  async load(ref: CheckpointRef): Promise<void> {
    await this.remote.call({ method: 'load', ref });
  }

  async exportWeights(dir: string): Promise<void> {
    await this.remote.call({ method: 'exportWeights', dir });
  }

  describe(): Promise<EngineInfo> {
    return answered(this.remote.call({ method: 'describe' }));
  }

  foresee(works: readonly Work[]): Promise<MemoryForecast> {
    return answered(this.remote.call({ method: 'foresee', works }));
  }

  close(): Promise<void> {
    return this.remote.end();
  }
}

// The two ends are one build, so an answer has the type its method declares; these two lines are where that is taken on trust.
async function answered<T>(answer: Promise<unknown>): Promise<T> {
  return (await answer) as T;
}

function streamed<T>(items: AsyncGenerator<unknown>): AsyncIterable<T> {
  return items as AsyncGenerator<T>;
}

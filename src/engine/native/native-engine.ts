import { loadKernels, type Kernels } from '../../../kernels/binding/kernels.js';
import { Aborted, AppError } from '../../common/errors.js';
import { ModelDirectory } from '../../model-files/model-directory.js';
import { parameterCount } from '../../model-files/parameters.js';
import type { PackedBatch } from '../../tokens/batch.js';
import type { LossSpec, LossSums } from '../../tokens/loss.js';
import type { TargetBlock } from '../../tokens/target.js';
import {
  checkSampleRequest, checkScoreRequest, Engine, EngineFailed, ModelTooLarge, WriteFailed,
  type CheckpointRef, type Completion, type EngineInfo, type MemoryForecast, type OptimStep, type SampleRequest, type SavedCheckpoint, type ScoreRequest, type TrainOptions, type Work,
} from '../engine.js';
import { AdamW } from './adamw.js';
import { Arena } from './arena.js';
import { readCheckpoint, writeCheckpoint, type TrainingState } from './checkpoint.js';
import { runLoss } from './loss-pass.js';
import { foresee, footprintOf } from './forecast.js';
import { ParameterSet } from './parameters.js';
import { freeBytes, type EngineCore } from './plan.js';
import { Rehearsal } from './rehearsal.js';
import { mebibytes } from './remedies.js';
import { sampleAll } from './sampler.js';
import { scoreAll } from './scorer.js';
import { breathe, Turns } from './turns.js';
import { readWeights, writeWeights } from './weights.js';

/** How to open a native engine. */
export interface NativeOptions {
  /** A Hugging Face model directory. */
  readonly modelDir: string;
  /** Compute threads, >= 1; one setting for the whole process. Bits depend on it. */
  readonly threads: number;
  /** Most bytes the engine may plan for; without it, what the machine has free. */
  readonly memoryLimitBytes?: number;
  /** Told what an operator should know, for example that a resume is not exact. Default: dropped. */
  readonly onWarning?: (message: string) => void;
}

/**
 * The engine over our own kernels: bf16 weights and activations; residual stream, norms, gradients, moments and master weights in float32. A stream
 * of `sample` or `score` holds its turn until it is read to its end or left.
 */
export class NativeEngine extends Engine {
  private readonly turns = new Turns();
  private readonly optimizer: AdamW;
  private step = 0;
  private failure: EngineFailed | undefined;
  private state: 'open' | 'closed' = 'open';

  private constructor(
    private readonly core: EngineCore,
    private readonly options: NativeOptions,
  ) {
    super();
    this.optimizer = new AdamW(core.kernels, core.parameters);
  }

  /** Loads the kernels and the weights. @throws what `ModelDirectory.open` throws for a directory that is incomplete or damaged; ModelTooLarge. */
  static async open(options: NativeOptions): Promise<NativeEngine> {
    const kernels = loadKernels();
    kernels.setThreads(options.threads);
    const directory = await ModelDirectory.open(options.modelDir);
    const { config } = directory;
    const rehearsal = new Rehearsal(kernels, config);
    try {
      refuseTooLarge(rehearsal.resident.opened, { kernels, ...options }, parameterCount(config));
      const parameters = await readParameters(directory, kernels);
      const core = { kernels, arena: new Arena(kernels), lasting: new Arena(kernels), parameters, config, rehearsal, footprintOf: (work: Work) => footprintOf(rehearsal, work), memoryLimitBytes: options.memoryLimitBytes };
      return new NativeEngine(core, options);
    } catch (error) {
      rehearsal.free();
      throw error;
    } finally {
      await directory.close();
    }
  }

  forward(batch: PackedBatch, loss: LossSpec, signal?: AbortSignal): Promise<LossSums> {
    return this.inTurn(() => runLoss(this.core, { batch, loss, breathe: () => breathe('forward', signal) }));
  }

  forwardBackward(batch: PackedBatch, loss: LossSpec, normalizer: number, { recompute, signal }: TrainOptions = {}): Promise<LossSums> {
    return this.inTurn(() => runLoss(this.core, { batch, loss, normalizer, recompute, breathe: () => breathe('forwardBackward', signal) }));
  }

  optimStep(step: OptimStep): Promise<{ readonly gradNorm: number }> {
    return this.inTurn(() => {
      const gradNorm = this.optimizer.apply(step, this.step + 1);
      this.step++;
      return Promise.resolve({ gradNorm });
    });
  }

  sample(request: SampleRequest, signal?: AbortSignal): AsyncIterable<Completion> {
    return this.streamInTurn(() => breathe('sample', signal), (pause) => {
      checkSampleRequest(request, this.core.config);
      return sampleAll(this.core, request, pause);
    });
  }

  score(request: ScoreRequest, signal?: AbortSignal): AsyncIterable<TargetBlock> {
    return this.streamInTurn(() => breathe('score', signal), (pause) => {
      checkScoreRequest(request, this.core.config);
      return scoreAll(this.core, request, pause);
    });
  }

  save(dir: string): Promise<SavedCheckpoint> {
    return this.inTurn(async () => {
      this.core.parameters.startTraining();
      const ref = { dir, step: this.step };
      return { ...ref, bytes: await written(dir, () => writeCheckpoint(this.trainingState(), ref)) };
    });
  }

  load(ref: CheckpointRef): Promise<void> {
    return this.inTurn(async () => {
      const state = this.trainingState();
      const { build } = await readCheckpoint(state, ref);
      this.step = ref.step;
      if (build !== state.build) {
        this.options.onWarning?.(`${ref.dir} was written by "${build}" and is continued by "${state.build}": the run goes on, but not bit for bit`);
      }
    });
  }

  exportWeights(dir: string): Promise<void> {
    return this.inTurn(() => written(dir, () => writeWeights(this.core.parameters, dir)));
  }

  describe(): Promise<EngineInfo> {
    const { kernels, parameters, config } = this.core;
    return Promise.resolve({
      implementation: 'native',
      vocabSize: config.vocabSize,
      parameters: parameters.count,
      layers: config.layers,
      maxPositions: config.maxPositions,
      threads: this.options.threads,
      build: kernels.buildInfo(),
      losses: { hard: 'native', forward_kl: 'native', reverse_kl: 'native' },
      step: this.step,
    });
  }

  foresee(works: readonly Work[]): Promise<MemoryForecast> {
    return this.inTurn(() => foresee(this.core, works));
  }

  /** The gradients held since the last `optimStep`, by Hugging Face name; zeros before training begins. For tests and diagnosis. */
  readGradients(): Promise<Map<string, Float32Array>> {
    return this.inTurn(() => {
      this.core.parameters.startTraining();
      return Promise.resolve(new Map(this.core.parameters.windows('grad').map(({ part, copy }) => [part.name, copy()])));
    });
  }

  async close(): Promise<void> {
    const endTurn = await this.turns.take();
    if (this.state === 'open') {
      this.core.arena.free();
      this.core.parameters.free();
      this.core.rehearsal.free();
      this.optimizer.free();
    }
    this.state = 'closed';
    this.failure ??= new EngineFailed('the engine was closed');
    endTurn();
  }

  private trainingState(): TrainingState {
    const { kernels, parameters } = this.core;
    return { parameters, build: kernels.buildInfo() };
  }

  private async inTurn<T>(work: () => Promise<T>): Promise<T> {
    const endTurn = await this.turns.take();
    try {
      if (this.failure) throw this.failure;
      return await work();
    } catch (error) {
      throw this.settle(error);
    } finally {
      endTurn();
    }
  }

  // `pause` throws once the caller's signal has fired: also after an item, so that an abort counts even when no work is left.
  private async *streamInTurn<T>(pause: () => Promise<void>, open: (pause: () => Promise<void>) => AsyncIterable<T>): AsyncGenerator<T> {
    const endTurn = await this.turns.take();
    try {
      if (this.failure) throw this.failure;
      for await (const item of open(pause)) {
        yield item;
        await pause();
      }
    } catch (error) {
      throw this.settle(error);
    } finally {
      endTurn();
    }
  }

  // Leaves the engine in the state that its contract promises after `error`. @returns the error to throw.
  private settle(error: unknown): AppError {
    if (error instanceof Aborted) this.core.parameters.dropGradients();
    if (error instanceof AppError && !(error instanceof EngineFailed)) return error;
    this.failure ??= error instanceof EngineFailed ? error : new EngineFailed(`the native engine broke: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    return this.failure;
  }
}

function refuseTooLarge(needed: number, limits: Pick<EngineCore, 'kernels' | 'memoryLimitBytes'>, parameters: number): void {
  const free = freeBytes(limits);
  if (needed <= free) return;
  const most = Math.floor((parameters * free) / needed);
  throw new ModelTooLarge(`the weights of ${parameters} parameters need ${mebibytes(needed)} and ${mebibytes(free)} are free; at most ${most} parameters would fit, or free some memory`);
}

async function readParameters(directory: ModelDirectory, kernels: Kernels): Promise<ParameterSet> {
  const parameters = new ParameterSet(kernels, directory.config);
  try {
    await readWeights(directory, parameters);
    return parameters;
  } catch (error) {
    parameters.free();
    throw error;
  }
}

// A full disk or a missing right is no fault of the engine, which can go on.
async function written<Result>(dir: string, write: () => Promise<Result>): Promise<Result> {
  try {
    return await write();
  } catch (error) {
    if (error instanceof AppError) throw error;
    throw new WriteFailed(`${dir} could not be written: ${error instanceof Error ? error.message : String(error)}; nothing is left there`, { cause: error });
  }
}

import { setImmediate as turnEventLoop } from 'node:timers/promises';
import { Aborted } from '../../common/errors.js';
import type { ModelConfig } from '../../model-files/config.js';
import { parameterCount } from '../../model-files/parameters.js';
import { type LossSpec, type LossSums, ROW_METRICS } from '../../tokens/loss.js';
import type { TargetBlock } from '../../tokens/target.js';
import type { CheckpointRef, Completion, EngineInfo, MemoryForecast, OptimStep, SampleRequest, SavedCheckpoint, ScoreRequest, Work } from '../engine.js';
import { checkLossBatch, checkNormalizer, checkSampleRequest, checkScoreRequest, Engine, EngineFailed, GradientNotFinite, type TrainOptions } from '../engine.js';
import { gradientNorm, type Moments, stepAdamW, zeroMoments } from './adamw.js';
import { readCheckpoint, writeCheckpoint } from './checkpoint.js';
import { Decoder } from './decoder.js';
import { evaluateRow } from './losses.js';
import { toMatrices } from './parameters.js';
import { InOrder } from './in-order.js';
import { type ReferenceBatch, roundBatch, targetRow } from './requests.js';
import { complete } from './sampler.js';
import { type ExactTargetBlock, roundBlock, scoreSequence } from './scorer.js';
import { type Matrix, Tape } from './tape.js';
import { readWeights, writeWeights } from './weight-files.js';

const FLOAT64_BYTES = 8;
/** Values, gradient and two moments. */
const MATRICES_PER_PARAMETER = 4;

/** The oracle of the tests: an engine in plain float64, one thread, every formula spelled out. For tiny models only. */
export class ReferenceEngine extends Engine {
  #decoder: Decoder;
  #moments: Moments;
  #state: 'open' | 'closed' = 'open';
  readonly #calls = new InOrder();

  private constructor(decoder: Decoder) {
    super();
    this.#decoder = decoder;
    this.#moments = zeroMoments(decoder.parameters);
  }

  /** Reads a Hugging Face directory. */
  static async open(modelDir: string): Promise<ReferenceEngine> {
    const { config, weights } = await readWeights(modelDir);
    return ReferenceEngine.fromWeights(config, weights);
  }

  /** Copies `weights`, which are under their Hugging Face names and row-major. */
  static fromWeights(config: ModelConfig, weights: ReadonlyMap<string, Float64Array>): ReferenceEngine {
    return new ReferenceEngine(new Decoder(config, toMatrices(config, weights)));
  }

  override async forward(batch: ReferenceBatch, loss: LossSpec, signal?: AbortSignal): Promise<LossSums> {
    return await this.#run(async () => {
      checkLossBatch(roundBatch(batch), loss, this.#decoder.config);
      await this.#turn('forward', signal);
      const logits_RV = this.#decoder.logits(new Tape(), batch, batch.rows_R);
      return evaluateRows(batch, loss, { logits_RV, normalizer: 1 });
    });
  }

  override async forwardBackward(batch: ReferenceBatch, loss: LossSpec, normalizer: number, { signal }: TrainOptions = {}): Promise<LossSums> {
    return await this.#run(async () => {
      checkLossBatch(roundBatch(batch), loss, this.#decoder.config);
      checkNormalizer(normalizer);
      await this.#turn('forwardBackward', signal);
      const tape = new Tape();
      const logits_RV = this.#decoder.logits(tape, batch, batch.rows_R);
      await this.#turn('forwardBackward', signal);
      const sums = evaluateRows(batch, loss, { logits_RV, normalizer });
      tape.backward();
      await this.#turn('forwardBackward', signal);
      return sums;
    });
  }

  override async optimStep(step: OptimStep): Promise<{ readonly gradNorm: number }> {
    return await this.#run(async () => {
      const { parameters } = this.#decoder;
      const gradNorm = gradientNorm(parameters);
      if (!Number.isFinite(gradNorm)) {
        this.#forgetGradients();
        throw new GradientNotFinite(`the gradient has norm ${gradNorm}; the step was not taken. Lower the learning rate, or look for damaged targets`);
      }
      this.#moments = stepAdamW(parameters, this.#moments, { ...step, gradNorm });
      this.#forgetGradients();
      return { gradNorm };
    });
  }

  override async *sample(request: SampleRequest, signal?: AbortSignal): AsyncGenerator<Completion> {
    checkSampleRequest(request, this.#decoder.config);
    for (const [index, prompt] of request.prompts.entries()) {
      yield await this.#run(() => complete(this.#decoder, { ...request, prompt, index }, () => this.#turn('sample', signal)));
      await this.#run(() => this.#turn('sample', signal));
    }
  }

  override async *score(request: ScoreRequest, signal?: AbortSignal): AsyncGenerator<TargetBlock> {
    for await (const block of this.scoreExactly(request, signal)) yield roundBlock(block);
  }

  /** `score` without rounding to float32. */
  async *scoreExactly(request: ScoreRequest, signal?: AbortSignal): AsyncGenerator<ExactTargetBlock> {
    checkScoreRequest(request, this.#decoder.config);
    for (const [index, sequence] of request.sequences.entries()) {
      yield await this.#run(async () => {
        await this.#turn('score', signal);
        return scoreSequence(this.#decoder, sequence, { index, k: request.k });
      });
      await this.#run(() => this.#turn('score', signal));
    }
  }

  override async save(dir: string): Promise<SavedCheckpoint> {
    return await this.#run(async () => await writeCheckpoint(dir, this.#decoder.config, { weights: this.#copy('values'), moments: this.#moments }));
  }

  override async load(ref: CheckpointRef): Promise<void> {
    await this.#run(async () => {
      const { config } = this.#decoder;
      const { weights, moments } = await readCheckpoint(ref, config);
      this.#decoder = new Decoder(config, toMatrices(config, weights));
      this.#moments = moments;
    });
  }

  override async exportWeights(dir: string): Promise<void> {
    await this.#run(() => writeWeights(dir, this.#decoder.config, this.#copy('values')));
  }

  override async describe(): Promise<EngineInfo> {
    const { config } = this.#decoder;
    return {
      implementation: 'reference',
      vocabSize: config.vocabSize,
      parameters: parameterCount(config),
      layers: config.layers,
      maxPositions: config.maxPositions,
      threads: 1,
      build: `reference float64 v8=${process.versions.v8}`,
      losses: { forward_kl: 'native', reverse_kl: 'native', hard: 'native' },
      step: this.#moments.step,
    };
  }

  /** An estimate from below: the model with its state, and the logits with their gradients. What layers keep for the way back is not counted; the models are tiny. */
  override async foresee(works: readonly Work[]): Promise<MemoryForecast> {
    const { config } = this.#decoder;
    const residentBytes = parameterCount(config) * MATRICES_PER_PARAMETER * FLOAT64_BYTES;
    const rows = Math.max(0, ...works.map((work) => (work.kind === 'sample' ? 1 : work.rows)));
    return await this.#run(async () => ({ residentBytes, peakBytes: residentBytes + 2 * rows * config.vocabSize * FLOAT64_BYTES }));
  }

  override async close(): Promise<void> {
    await this.#calls.run(async () => (this.#state = 'closed'));
  }

  /** Copies of the gradients held since the last `optimStep`, under their Hugging Face names. */
  async readGradients(): Promise<Map<string, Float64Array>> {
    return await this.#run(async () => this.#copy('gradient'));
  }

  /** Copies of the weights, under their Hugging Face names. */
  async readWeights(): Promise<Map<string, Float64Array>> {
    return await this.#run(async () => this.#copy('values'));
  }

  #copy(part: 'values' | 'gradient'): Map<string, Float64Array> {
    return new Map([...this.#decoder.parameters].map(([name, matrix]) => [name, matrix[part].slice()]));
  }

  #run<T>(work: () => Promise<T>): Promise<T> {
    return this.#calls.run(() => {
      if (this.#state === 'closed') throw new EngineFailed('the engine was closed');
      return work();
    });
  }

  // Lets an abort arrive; computing between two turns never yields.
  async #turn(what: string, signal: AbortSignal | undefined): Promise<void> {
    await turnEventLoop();
    if (!signal?.aborted) return;
    this.#forgetGradients();
    throw new Aborted(what);
  }

  #forgetGradients(): void {
    for (const { gradient } of this.#decoder.parameters.values()) gradient.fill(0);
  }
}

// Fills the gradient of the logits with that of sum(weight x loss) / normalizer.
function evaluateRows(batch: ReferenceBatch, loss: LossSpec, { logits_RV, normalizer }: { logits_RV: Matrix; normalizer: number }): LossSums {
  const V = logits_RV.columns;
  const rowMetrics_RM = new Float32Array(logits_RV.rows * ROW_METRICS.length);
  let lossNats = 0;
  let weightSum = 0;
  for (let r = 0; r < logits_RV.rows; r++) {
    const logits_V = logits_RV.values.subarray(r * V, (r + 1) * V);
    const { metrics_M, dLogits_V } = evaluateRow(loss.kind, logits_V, { label: batch.labels_R[r], target: targetRow(batch.targets, r) });
    const weight = batch.weights_R[r];
    dLogits_V.forEach((d, j) => (logits_RV.gradient[r * V + j] = (d * weight) / normalizer));
    rowMetrics_RM.set(metrics_M, r * ROW_METRICS.length);
    lossNats += weight * metrics_M[ROW_METRICS.indexOf('loss')];
    weightSum += weight;
  }
  return { lossNats, weightSum, rowMetrics_RM };
}

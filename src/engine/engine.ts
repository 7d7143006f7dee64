import { AppError } from '../common/errors.js';
import { BatchInvalid, checkBatch, type PackedBatch } from '../tokens/batch.js';
import type { LossKind, LossSpec, LossSums } from '../tokens/loss.js';
import type { Finish, Sampling, TokenIds } from '../tokens/sample.js';
import type { ScoreSequence, TargetBlock } from '../tokens/target.js';

/** One AdamW step (Loshchilov & Hutter 2019, decoupled decay). The engine counts steps itself for the bias correction. */
export interface OptimStep {
  readonly learningRate: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  readonly weightDecay: number;
  /** Largest L2 norm of the whole gradient; larger ones are scaled down. `Infinity` never clips. */
  readonly clip: number;
}

/** Names the stream of random numbers: draws are a function of (seed, stage, step, sample, position), never of call order. */
export interface RandomKey {
  /** Integer in [0, 2^53). */
  readonly seed: number;
  /** Small integer that tells stages of one run apart, [0, 2^16). */
  readonly stage: number;
  /** [0, 2^31). */
  readonly step: number;
}

/** One sequence to continue. `sample` in [0, 2^31) enters the random key in place of its index. */
export interface SamplePrompt {
  readonly ids_T: TokenIds;
  readonly sample: number;
}

export interface SampleRequest {
  readonly prompts: readonly SamplePrompt[];
  readonly sampling: Sampling;
  readonly key: RandomKey;
}

/** A finished completion. `ids_T` ends with the stop id when `finish` is `stop`. */
export interface Completion {
  /** Index into `SampleRequest.prompts`. */
  readonly index: number;
  readonly ids_T: TokenIds;
  /** Log-probs at temperature 1 over the whole vocabulary, before any truncation, nats. */
  readonly logProbs_T: Float32Array;
  readonly finish: Finish;
}

export interface ScoreRequest {
  readonly sequences: readonly ScoreSequence[];
  /** Size of the support, >= 1. The actual id is appended when it is not among them. */
  readonly k: number;
}

/**
 * What a training pass keeps of its activations until gradients come back: `none` recomputed, all of them; `layers`, what each layer began with, and every layer is
 * computed again on the way back (Chen et al. 2016, section 3). A matter of memory and time alone: the bits are the same.
 */
export type Recompute = 'none' | 'layers';

export interface TrainOptions {
  /** Default `none`. */
  readonly recompute?: Recompute;
  readonly signal?: AbortSignal;
}

/** Sequences read together: `train` with gradients and the optimiser step, `evaluate` without, `score` as `Engine.score` does. */
export interface SequenceWork {
  readonly kind: 'train' | 'evaluate' | 'score';
  readonly sequences: number;
  /** Of all sequences together. */
  readonly tokens: number;
  /** With loss, or scored; of all sequences together. */
  readonly rows: number;
  /** Entries of a row's support. */
  readonly k: number;
  /** Of `train`; default `none`. */
  readonly recompute?: Recompute;
}

/** Prompts to continue. */
export interface SampleWork {
  readonly kind: 'sample';
  readonly prompts: number;
  /** How many of them differ; without it, all. */
  readonly distinct?: number;
  /** Of the longest prompt. */
  readonly promptTokens: number;
  readonly maxTokens: number;
}

/** Work by its sizes, each an integer >= 1. */
export type Work = SequenceWork | SampleWork;

/** What an engine takes of a machine's memory. */
export interface MemoryForecast {
  /** At the height, everything included, beyond a process without an engine. */
  readonly peakBytes: number;
  /** Of these what stays between calls whatever their sizes: the model, and the state of its training if it is trained. */
  readonly residentBytes: number;
}

/** A checkpoint on disk: weights, moments and step, at a step boundary. */
export interface CheckpointRef {
  readonly dir: string;
  /** Optimiser steps taken when it was written. */
  readonly step: number;
}

/** A checkpoint just written. */
export interface SavedCheckpoint extends CheckpointRef {
  /** Of all its files together. */
  readonly bytes: number;
}

export interface EngineInfo {
  readonly implementation: 'native' | 'reference';
  readonly vocabSize: number;
  readonly parameters: number;
  readonly layers: number;
  readonly maxPositions: number;
  readonly threads: number;
  /** Instruction set and library versions the numbers depend on; exact resume needs the same text. */
  readonly build: string;
  readonly losses: Readonly<Record<LossKind, 'native' | 'absent'>>;
  /** Optimiser steps taken so far. */
  readonly step: number;
}

/**
 * What trains, samples and scores one student; the algorithm stays outside. Calls run in order, one at a time. On abort the gradients since
 * the last `optimStep` are dropped and `Aborted` is thrown; weights stay.
 */
export abstract class Engine {
  /** Evaluates without gradients. @throws BatchInvalid, BatchTooLarge before any work. */
  abstract forward(batch: PackedBatch, loss: LossSpec, signal?: AbortSignal): Promise<LossSums>;

  /**
   * Adds the gradient of the weighted **sum** of row losses, divided by `normalizer`, to those held since the last `optimStep`, so that
   * unequal micro-batches of one step average rightly. Parameters do not change.
   * @param normalizer the weight of the whole step, > 0, known before its first micro-batch.
   * @throws BatchInvalid, BatchTooLarge before any work; gradients stay as they were.
   */
  abstract forwardBackward(batch: PackedBatch, loss: LossSpec, normalizer: number, options?: TrainOptions): Promise<LossSums>;

  /** Clips, applies AdamW and forgets the gradients. @returns the L2 norm before clipping. */
  abstract optimStep(step: OptimStep): Promise<{ readonly gradNorm: number }>;

  /** Continues prompts, each yielded as it finishes. The same request on the same weights gives the same bits. */
  abstract sample(request: SampleRequest, signal?: AbortSignal): AsyncIterable<Completion>;

  /** The model's own distribution along given sequences: top k, tail and the actual id; in request order. */
  abstract score(request: ScoreRequest, signal?: AbortSignal): AsyncIterable<TargetBlock>;

  /** Writes everything that `load` needs to go on bit for bit into `dir`, which must not exist; it appears whole or not at all. */
  abstract save(dir: string): Promise<SavedCheckpoint>;

  /** @throws CheckpointInvalid when a file is missing, damaged or of another model; the engine stays as it was. */
  abstract load(ref: CheckpointRef): Promise<void>;

  /** Writes the weights as bf16 `model.safetensors` and `config.json` into `dir`; the caller adds the tokenizer. */
  abstract exportWeights(dir: string): Promise<void>;

  abstract describe(): Promise<EngineInfo>;

  /** The memory of an engine that does all these works, in any order and as often as one likes, from its opening on. Nothing is allocated. */
  abstract foresee(works: readonly Work[]): Promise<MemoryForecast>;

  abstract close(): Promise<void>;
}

/** The work cannot fit; says the bytes needed and free, and what would fit. */
export class BatchTooLarge extends AppError {
  readonly code = 'engine.batch_too_large';
  readonly kind = 'invalid';
}

/** The model cannot be opened in this memory; says the bytes needed and free, and how large a model could be. */
export class ModelTooLarge extends AppError {
  readonly code = 'engine.model_too_large';
  readonly kind = 'invalid';
}

/** A sampling or scoring request breaks its contract, raised before any work; says which sequence and rule. */
export class RequestInvalid extends AppError {
  readonly code = 'engine.request_invalid';
  readonly kind = 'invalid';
}

/** The gradient of a step is infinite or not a number. The step was not taken: gradients are dropped, weights and moments stay. */
export class GradientNotFinite extends AppError {
  readonly code = 'engine.gradient_not_finite';
  readonly kind = 'invalid';
}

/** The checkpoint cannot be loaded; says which file and why. */
export class CheckpointInvalid extends AppError {
  readonly code = 'engine.checkpoint_invalid';
  readonly kind = 'invalid';
}

/** A checkpoint or export could not be written, for example because the disk is full. Nothing is left of it; the engine can go on. */
export class WriteFailed extends AppError {
  readonly code = 'engine.write_failed';
  readonly kind = 'unavailable';
}

/** The engine broke; only `close` may be called afterwards. */
export class EngineFailed extends AppError {
  readonly code = 'engine.failed';
  readonly kind = 'unavailable';
}

/** What a model can read; a part of its configuration. */
export interface ModelLimits {
  readonly vocabSize: number;
  readonly maxPositions: number;
}

/** @throws BatchInvalid when the batch breaks its contract, is too long for the model, or lacks the targets that its loss needs. */
export function checkLossBatch(batch: PackedBatch, loss: LossSpec, { vocabSize, maxPositions }: ModelLimits): void {
  checkBatch(batch, vocabSize);
  const long = batch.cuSeqlens_S1.findIndex((end, s) => s > 0 && end - batch.cuSeqlens_S1[s - 1] > maxPositions);
  if (long > 0) throw new BatchInvalid(`sequence ${long - 1} is longer than the ${maxPositions} positions of this model`);
  if (loss.kind !== 'hard' && !batch.targets) throw new BatchInvalid(`the loss ${loss.kind} needs targets; only hard does without`);
}

/** @throws BatchInvalid unless `normalizer` is finite and > 0. */
export function checkNormalizer(normalizer: number): void {
  if (!(normalizer > 0 && normalizer < Infinity)) throw new BatchInvalid(`the normalizer is ${normalizer}; it must be finite and > 0`);
}

/** @throws RequestInvalid naming the first broken rule of `SampleRequest`. */
export function checkSampleRequest({ prompts, sampling, key }: SampleRequest, limits: ModelLimits): void {
  const { temperature, topP, topK, maxTokens, stopIds } = sampling;
  need(temperature >= 0 && temperature < Infinity, `temperature is ${temperature}; it must be finite and >= 0`);
  need(topP > 0 && topP <= 1, `topP is ${topP}; it must lie in (0, 1]`);
  needInteger('topK', topK, [0, Infinity]);
  needInteger('maxTokens', maxTokens, [1, Infinity]);
  needInteger('seed', key.seed, [0, 2 ** 53]);
  needInteger('stage', key.stage, [0, 2 ** 16]);
  needInteger('step', key.step, [0, 2 ** 31]);
  stopIds.forEach((id, i) => needInteger(`stopIds[${i}]`, id, [0, limits.vocabSize]));
  prompts.forEach(({ ids_T, sample }, index) => {
    needInteger(`prompts[${index}].sample`, sample, [0, 2 ** 31]);
    needSequence(`prompts[${index}]`, ids_T, limits);
    need(ids_T.length + maxTokens <= limits.maxPositions, `prompts[${index}] and its completion can exceed the ${limits.maxPositions} positions of this model`);
  });
}

/** @throws RequestInvalid naming the first broken rule of `ScoreRequest`. */
export function checkScoreRequest({ sequences, k }: ScoreRequest, limits: ModelLimits): void {
  needInteger('k', k, [1, limits.vocabSize + 1]);
  sequences.forEach(({ ids_T, from }, index) => {
    needSequence(`sequences[${index}]`, ids_T, limits);
    needInteger(`sequences[${index}].from`, from, [1, ids_T.length + 1]);
  });
}

function needSequence(where: string, ids_T: Int32Array, { vocabSize, maxPositions }: ModelLimits): void {
  need(ids_T.length > 0, `${where} is empty; it needs at least one id`);
  need(ids_T.length <= maxPositions, `${where} has ${ids_T.length} ids; this model has ${maxPositions} positions`);
  ids_T.forEach((id, t) => needInteger(`${where}, id ${t},`, id, [0, vocabSize]));
}

function needInteger(what: string, value: number, [from, below]: readonly [number, number]): void {
  need(Number.isSafeInteger(value) && value >= from && value < below, `${what} is ${value}; it must be an integer in [${from}, ${below})`);
}

function need(holds: boolean, message: string): void {
  if (!holds) throw new RequestInvalid(message);
}

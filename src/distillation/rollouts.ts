import { createHash } from 'node:crypto';
import type { Engine, RandomKey } from '../engine/engine.js';
import { EngineFailed } from '../engine/engine.js';
import { TeacherAnswerInvalid, type TeacherClient } from '../teacher-clients/teacher-client.js';
import type { Sample, Sampling, TokenIds } from '../tokens/sample.js';
import type { TargetBlock } from '../tokens/target.js';
import { isLooping } from './loops.js';

/** A sample the student wrote. */
export interface Rollout extends Sample {
  /** The student's log-probs of its own ids while it sampled, at temperature 1. */
  readonly logProbs_T: Float32Array;
}

/** The whole distribution of the model: temperature 1, nothing cut away, so that means over rollouts are unbiased. */
export function plainSampling(maxTokens: number, stopIds: readonly number[]): Sampling {
  return { temperature: 1, topP: 1, topK: 0, maxTokens, stopIds };
}

/** What the student is to answer, and how. */
export interface RollOutRequest {
  readonly prompts: readonly TokenIds[];
  readonly sampling: Sampling;
  readonly key: RandomKey;
  /** Told how many rollouts are finished, after each. */
  readonly onFinished?: (count: number) => void;
}

/** Has the student answer prompts; in their order. Each prompt's random numbers are its place's. */
export async function rollOut(engine: Engine, { prompts, sampling, key, onFinished }: RollOutRequest, signal?: AbortSignal): Promise<Rollout[]> {
  const rollouts = new Map<number, Rollout>();
  const request = { prompts: prompts.map((ids_T, sample) => ({ ids_T, sample })), sampling, key };
  for await (const { index, ids_T, logProbs_T, finish } of engine.sample(request, signal)) {
    rollouts.set(index, { prompt_T: prompts[index], completion_T: ids_T, finish, logProbs_T });
    onFinished?.(rollouts.size);
  }
  return prompts.map((_, index) => {
    const rollout = rollouts.get(index);
    if (!rollout) throw new EngineFailed(`the engine left prompt ${index + 1} of ${prompts.length} without a completion`);
    return rollout;
  });
}

/** Has the teacher score every completion id of given samples; in their order. */
export async function scoreSamples(teacher: TeacherClient, { samples, k }: { samples: readonly Sample[]; k: number }, signal?: AbortSignal): Promise<TargetBlock[]> {
  const blocks = new Map<number, TargetBlock>();
  const sequences = samples.map(({ prompt_T, completion_T }) => ({ ids_T: Int32Array.of(...prompt_T, ...completion_T), from: prompt_T.length }));
  for await (const block of teacher.score(sequences, k, signal)) blocks.set(block.index, block);
  return samples.map((_, index) => {
    const block = blocks.get(index);
    if (!block) throw new TeacherAnswerInvalid(`the teacher left sequence ${index + 1} of ${samples.length} unscored`);
    return block;
  });
}

/** Hash of the ids of samples, in order. */
export function samplesHash(samples: readonly Sample[]): string {
  const hash = createHash('sha256');
  for (const { prompt_T, completion_T, finish } of samples) hash.update(`${prompt_T.join(',')}|${completion_T.join(',')}|${finish}\n`);
  return hash.digest('hex');
}

/** Lengths and endings of a list of samples, at least one. */
export function describeEndings(samples: readonly Sample[]): { meanLength: number; truncatedShare: number; loopShare: number } {
  const shareOf = (holds: (sample: Sample) => boolean): number => samples.filter(holds).length / samples.length;
  return {
    meanLength: samples.reduce((sum, { completion_T }) => sum + completion_T.length, 0) / samples.length,
    truncatedShare: shareOf(({ finish }) => finish === 'length'),
    loopShare: shareOf(({ completion_T }) => isLooping(completion_T)),
  };
}

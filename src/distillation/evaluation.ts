import type { Engine } from '../engine/engine.js';
import type { TeacherClient } from '../teacher-clients/teacher-client.js';
import type { LossSpec, RowMetric } from '../tokens/loss.js';
import type { Clock } from './context.js';
import type { RunTokenizer } from './text.js';
import type { EvaluationRecord, PromptRecord } from './evaluation-record.js';
import { isLooping } from './loops.js';
import { packBatch, tokensOf, type TargetedSample } from './packing.js';
import { cutMicroBatches } from './plan.js';
import type { RenderedPrompt } from './prompts.js';
import { STREAMS } from './random.js';
import { plainSampling, rollOut, scoreSamples, type Rollout } from './rollouts.js';
import type { ShardSample } from './shards.js';
import { sumTargets } from './target-sums.js';
import { column } from './train-step.js';

/** The held-out prompts and all that is needed to measure a student on them; the same for every evaluation of a run. */
export interface Bench {
  readonly teacher: TeacherClient;
  readonly tokenizer: RunTokenizer;
  readonly clock: Clock;
  readonly prompts: readonly RenderedPrompt[];
  /** What the teacher wrote to them, `origin` the prompt's index; a prompt has at most one. */
  readonly teacherText: readonly ShardSample[];
  readonly maxTokens: number;
  /** Rollouts to each prompt, >= 1. */
  readonly rolloutsPerPrompt: number;
  readonly stopIds: readonly number[];
  readonly k: number;
  readonly seed: number;
  readonly microBatchTokens: number;
}

const FORWARD: LossSpec = { kind: 'forward_kl', truncation: 'tail_bucket' };
const REVERSE: LossSpec = { kind: 'reverse_kl', truncation: 'tail_bucket' };
/** Of a prompt without teacher text. */
export const NO_TEXT: PromptRecord['text'] = { rows: 0, forward_kl: 0, agreement: 0, student_entropy: 0, teacher_entropy: 0, tail_mass: 0 };

/** One evaluation of the bench. */
export interface EvaluationRequest {
  readonly bench: Bench;
  readonly label: string;
  /** Told how many of the prompts the student has answered, after each. */
  readonly onAnswered?: (count: number) => void;
}

/** An evaluation with the rollouts it was made on. */
export interface MeasuredStudent {
  readonly record: EvaluationRecord;
  /** Prompt by prompt, then the second to each, and so on. */
  readonly rollouts: readonly Rollout[];
}

/**
 * Measures a student: forward KL on the teacher's text; on own rollouts (common random numbers, temperature 1, nothing cut away) the log-ratio
 * of the very tokens drawn. Weights are not touched.
 */
export async function evaluateStudent(engine: Engine, { bench, label, onAnswered }: EvaluationRequest, signal?: AbortSignal): Promise<MeasuredStudent> {
  const began = bench.clock();
  const { teacherText, prompts, rolloutsPerPrompt } = bench;
  const textRows = await rowsOf(engine, { samples: teacherText, loss: FORWARD, microBatchTokens: bench.microBatchTokens }, signal);
  const texts = new Map(teacherText.map(({ origin }, index) => [origin, sumText(textRows[index])]));
  const request = {
    prompts: Array.from({ length: rolloutsPerPrompt }, () => prompts.map(({ ids_T }) => ids_T)).flat(),
    sampling: plainSampling(bench.maxTokens, bench.stopIds),
    key: { seed: bench.seed, stage: STREAMS.evaluate, step: 0 },
    onFinished: onAnswered,
  };
  const rollouts = await rollOut(engine, request, signal);
  const blocks = await scoreSamples(bench.teacher, { samples: rollouts, k: bench.k }, signal);
  const scored = rollouts.map((rollout, index) => ({ ...rollout, targets: blocks[index] }));
  // The engine runs a prompt once for those of its rollouts that lie in one batch.
  const byPrompt = scored.map((_, index) => index).sort((a, b) => (a % prompts.length) - (b % prompts.length) || a - b);
  const sortedRows = await rowsOf(engine, { samples: byPrompt.map((index) => scored[index]), loss: REVERSE, microBatchTokens: bench.microBatchTokens }, signal);
  const rolloutRows: Float32Array[] = [];
  for (const [place, index] of byPrompt.entries()) rolloutRows[index] = sortedRows[place];
  const judged = scored.map((rollout, index) => ({
    ...judgeRollout(bench, rollout, prompts[index % prompts.length].answer),
    bucketed_reverse_kl: sum(column([rolloutRows[index]], 'reverseKl')),
  }));
  const records = prompts.map((_, index) => ({ text: texts.get(index) ?? NO_TEXT, rollouts: judged.filter((_rollout, place) => place % prompts.length === index) }));
  const tokens = [...teacherText, ...rollouts].reduce((all, sample) => all + tokensOf(sample), 0);
  return { record: { label, prompts: records, account: { seconds: (bench.clock() - began) / 1000, tokens, teacher_calls: rollouts.length } }, rollouts };
}

/** The teacher measured as its own student: no divergence by definition, entropies bucketed; lengths, endings and answers are those of its text. */
export function evaluateTeacher(bench: Bench): EvaluationRecord {
  const records = bench.teacherText.map((sample) => {
    const { rows, entropy, tailMass } = sumTargets(sample.targets);
    return {
      text: { rows, forward_kl: 0, agreement: rows, student_entropy: entropy, teacher_entropy: entropy, tail_mass: tailMass },
      rollouts: [{ ...judgeRollout(bench, { ...sample, logProbs_T: sample.targets.actualLogProbs_R }, bench.prompts[sample.origin].answer), bucketed_reverse_kl: 0 }],
    };
  });
  return { label: 'teacher', prompts: records, account: { seconds: 0, tokens: 0, teacher_calls: 0 } };
}

/** What is seen on a rollout without its distributions. */
export function judgeRollout(
  { tokenizer }: Pick<Bench, 'tokenizer'>,
  { completion_T, logProbs_T, finish, targets }: Rollout & TargetedSample,
  answer: string | undefined,
): PromptRecord['rollouts'][number] {
  const text = (): string => tokenizer.decode(completion_T, { skipSpecial: 'skip' });
  return {
    tokens: completion_T.length,
    log_ratio: sum(logProbs_T) - sum(targets.actualLogProbs_R),
    finish,
    loops: isLooping(completion_T),
    ...(answer === undefined ? {} : { correct: normaliseAnswer(text()) === normaliseAnswer(answer) }),
  };
}

/** Case, outer punctuation and runs of space do not make an answer wrong. */
export function normaliseAnswer(text: string): string {
  return text.normalize('NFKC').toLowerCase().replace(/\s+/g, ' ').replace(/^[\s\p{P}]+|[\s\p{P}]+$/gu, '');
}

/** Row metrics of each sample, float32 [completion x M]. */
async function rowsOf(
  engine: Engine,
  { samples, loss, microBatchTokens }: { samples: readonly TargetedSample[]; loss: LossSpec; microBatchTokens: number },
  signal?: AbortSignal,
): Promise<Float32Array[]> {
  const rows: Float32Array[] = [];
  for (const batch of cutMicroBatches(samples, tokensOf, microBatchTokens)) {
    const { rowMetrics_RM } = await engine.forward(packBatch(batch, loss.kind), loss, signal);
    const width = rowMetrics_RM.length / batch.reduce((all, { completion_T }) => all + completion_T.length, 0);
    let at = 0;
    for (const { completion_T } of batch) rows.push(rowMetrics_RM.slice(at, (at += completion_T.length * width)));
  }
  return rows;
}

function sumText(rows_RM: Float32Array): PromptRecord['text'] {
  const total = (metric: RowMetric): number => sum(column([rows_RM], metric));
  const mass = column([rows_RM], 'supportMass');
  return {
    rows: mass.length,
    forward_kl: total('forwardKl'),
    agreement: total('agreement'),
    student_entropy: total('studentEntropy'),
    teacher_entropy: total('teacherEntropy'),
    tail_mass: mass.length - sum(mass),
  };
}

function sum(values: Iterable<number>): number {
  let all = 0;
  for (const value of values) all += value;
  return all;
}

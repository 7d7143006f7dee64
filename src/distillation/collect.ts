import { createHash } from 'node:crypto';
import { TeacherAnswerInvalid, type TaughtSample, type TeacherClient, type TeacherPrompt } from '../teacher-clients/teacher-client.js';
import type { Sampling } from '../tokens/sample.js';
import type { Clock } from './context.js';
import { NoSamples, ResumeMismatch } from './distillation.errors.js';
import type { RunIdentity } from './identity.js';
import { tokensOf } from './packing.js';
import type { RenderedPrompt } from './prompts.js';
import { integer53 } from './random.js';
import type { StageAccount } from './report.js';
import { addCosts, NO_COST } from './run-state.js';
import { decodeShard, encodeShard, type ShardManifest, type ShardSample } from './shards.js';
import type { RunStore } from './store.js';

/** Answers in a shard: what a crash can lose, and what one request to the teacher client holds. */
const SHARD_ANSWERS = 32;

/** What to ask of the teacher, and where to keep it. */
export interface CollectJob {
  readonly store: RunStore;
  /** Gives the teacher; called only for shards that are not there. */
  readonly meetTeacher: (signal?: AbortSignal) => Promise<TeacherClient>;
  readonly clock: Clock;
  readonly identity: RunIdentity;
  /** Shards are named `shards/<name>-<number>.safetensors`. */
  readonly name: 'train' | 'heldout';
  readonly prompts: readonly RenderedPrompt[];
  readonly samplesPerPrompt: number;
  readonly sampling: Sampling;
  readonly k: number;
  readonly seed: number;
  /** Random stream of the teacher's seeds. */
  readonly stream: number;
  /** Whether answers without a token before the stop id are left out (and counted). */
  readonly emptyAnswers: 'drop' | 'keep';
  /** Told how many questions are answered, after each answer. */
  readonly onAnswered: (count: number) => void;
}

/** What the teacher wrote. */
export interface Collected {
  /** In the order of prompts; `origin` is the prompt's index. */
  readonly samples: readonly ShardSample[];
  readonly asked: number;
  readonly empty: number;
  readonly account: StageAccount;
}

/** An answer still to be asked for. */
interface Question extends TeacherPrompt {
  readonly origin: number;
}

/**
 * Has the teacher answer every prompt, in shards that are each committed before the next is begun; shards committed before are not asked
 * for again. @throws ShardDamaged, ResumeMismatch, NoSamples, Aborted, and what the teacher client throws.
 */
export async function collect(job: CollectJob, signal?: AbortSignal): Promise<Collected> {
  const questions = questionsOf(job);
  const samples: ShardSample[] = [];
  let account = NO_COST;
  let empty = 0;
  for (let first = 0; first < questions.length; first += SHARD_ANSWERS) {
    const asked = questions.slice(first, first + SHARD_ANSWERS);
    const shard = await readOrAsk(job, { file: shardName(job.name, first / SHARD_ANSWERS), asked, first }, signal);
    samples.push(...shard.samples);
    empty += Number(shard.manifest.empty);
    account = addCosts(account, { seconds: Number(shard.manifest.seconds), tokens: shard.samples.reduce((sum, sample) => sum + tokensOf(sample), 0), teacher_calls: asked.length });
    job.onAnswered(first + asked.length);
  }
  if (samples.length === 0) throw new NoSamples(`all ${empty} answers of the teacher were empty; ask it by hand what it says to one of the prompts`);
  return { samples, asked: questions.length, empty, account };
}

/** Shards that hold the answers to so many questions. */
export function shardCount(questions: number): number {
  return Math.ceil(questions / SHARD_ANSWERS);
}

function questionsOf({ prompts, samplesPerPrompt, seed, stream }: CollectJob): Question[] {
  return prompts.flatMap(({ ids_T }, origin) =>
    Array.from({ length: samplesPerPrompt }, (_, copy) => {
      const sample = origin * samplesPerPrompt + copy;
      return { ids_T, origin, seed: integer53({ seed, stage: stream, step: 0, sample, position: 0 }) };
    }),
  );
}

/** The questions of one shard. */
interface ShardRequest {
  readonly file: string;
  readonly asked: readonly Question[];
  /** Questions in the shards before. */
  readonly first: number;
}

async function readOrAsk(job: CollectJob, { file, asked, first }: ShardRequest, signal?: AbortSignal): Promise<{ samples: ShardSample[]; manifest: ShardManifest }> {
  const request = requestHash(job, asked);
  const stored = await job.store.read(file);
  if (stored !== undefined) {
    const shard = decodeShard(stored, file);
    if (shard.manifest.request !== request) throw new ResumeMismatch(`${file} answers other questions than this run asks; start in another directory`);
    return shard;
  }
  const teacher = await job.meetTeacher(signal);
  const began = job.clock();
  const answers = await ask({ ...job, teacher, onAnswered: (count) => job.onAnswered(first + count) }, asked, signal);
  const kept = job.emptyAnswers === 'keep' ? answers.filter(({ completion_T }) => completion_T.length > 0) : answers.filter(hasWords);
  const { identity } = job;
  const bytes = encodeShard(kept, {
    format: 'limbeck-targets-1',
    teacher: identity.teacher,
    tokenizer: identity.tokenizer,
    template: identity.template,
    mode: 'plain',
    tau: '1',
    k: String(job.k),
    sampling: JSON.stringify(job.sampling),
    request,
    empty: String(answers.length - kept.length),
    seconds: ((job.clock() - began) / 1000).toFixed(3),
  });
  await job.store.write(file, bytes);
  return decodeShard(bytes, file);
}

async function ask({ teacher, sampling, k, onAnswered }: Pick<CollectJob, 'sampling' | 'k' | 'onAnswered'> & { teacher: TeacherClient }, asked: readonly Question[], signal?: AbortSignal): Promise<ShardSample[]> {
  const answers = new Map<number, TaughtSample>();
  for await (const answer of teacher.generate(asked, sampling, k, signal)) {
    answers.set(answer.index, answer);
    onAnswered(answers.size);
  }
  return asked.map(({ origin }, index) => {
    const answer = answers.get(index);
    if (!answer) throw new TeacherAnswerInvalid(`the teacher left prompt ${origin + 1} without an answer`);
    const { prompt_T, completion_T, finish, targets } = answer;
    const last = completion_T[completion_T.length - 1];
    if (finish === 'stop' && !sampling.stopIds.includes(last)) {
      const known = sampling.stopIds.join(', ');
      throw new TeacherAnswerInvalid(`the teacher stopped at id ${last}, which is not in the student's set (${known}); add it to eos_token_id in the student's generation_config.json`);
    }
    return { origin, prompt_T, completion_T, finish, targets };
  });
}

function hasWords({ completion_T, finish }: ShardSample): boolean {
  return completion_T.length > (finish === 'stop' ? 1 : 0);
}

function requestHash({ identity, sampling, k }: CollectJob, asked: readonly Question[]): string {
  const hash = createHash('sha256').update(JSON.stringify({ teacher: identity.teacher, sampling, k }));
  for (const { ids_T, seed } of asked) hash.update(`${seed}:${ids_T.join(',')}\n`);
  return hash.digest('hex');
}

function shardName(name: string, number: number): string {
  return `shards/${name}-${String(number).padStart(5, '0')}.safetensors`;
}

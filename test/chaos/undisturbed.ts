import type { RegisteredInputs } from '../support/whole-inputs.js';
import { ChaosJob } from './chaos-job.js';
import type { ChaosService } from './chaos-service.js';
import type { Claims } from './table.js';

/** What a job that nothing disturbs comes to: every disturbed one must come to the same. */
export interface Undisturbed {
  readonly inputs: RegisteredInputs;
  readonly student: string;
  /** Steps of each training stage, 1 to the last. */
  readonly steps: Readonly<Record<'distill' | 'align', readonly number[]>>;
  /** Tokens of each stage's account. */
  readonly tokens: Readonly<Record<string, number>>;
  /** Names of the committed shards and journal entries, epochs left out. */
  readonly taught: readonly string[];
}

/** Runs a job on one worker, which ends then. */
export async function runUndisturbed(service: ChaosService, inputs: RegisteredInputs): Promise<Undisturbed> {
  const worker = await service.startWorker();
  const job = await ChaosJob.submit(service, inputs);
  await job.untilEnded();
  await worker.kill();
  return { inputs, student: await job.studentSha256(), steps: await stepsOf(job), tokens: await tokensOf(job), taught: await taughtBy(job) };
}

/** Holds a disturbed job against the undisturbed one: same bits, every step once, each token trained on once, nothing that was kept asked of the teacher again. */
export async function checkAgainst(claims: Claims, job: ChaosJob, undisturbed: Undisturbed): Promise<void> {
  claims.equal(`${job.id}: sha256 of the student`, await job.studentSha256(), undisturbed.student);
  claims.equal(`${job.id}: charted steps`, await stepsOf(job), undisturbed.steps);
  claims.equal(`${job.id}: tokens by stage`, await tokensOf(job), undisturbed.tokens);
  claims.equal(`${job.id}: shards and journal`, await taughtBy(job), undisturbed.taught);
}

async function stepsOf(job: ChaosJob): Promise<Undisturbed['steps']> {
  return { distill: await job.chartedSteps('distill/loss'), align: await job.chartedSteps('align/loss') };
}

async function tokensOf(job: ChaosJob): Promise<Undisturbed['tokens']> {
  return Object.fromEntries((await job.stages()).map(({ name, tokens }) => [name, tokens]));
}

/** An entry of the journal that was asked for twice would stand there twice, once for each epoch. */
async function taughtBy(job: ChaosJob): Promise<string[]> {
  const names = [...(await job.places('shards/')).keys(), ...(await job.places('journal/')).keys()];
  return names.map((name) => name.replace(/\.\d+\.safetensors$/, '.safetensors'));
}

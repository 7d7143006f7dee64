import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import type { Command } from 'commander';
import { parse as parseYaml } from 'yaml';
import { z } from 'zod';
import type { RunReport } from '../distillation/report.js';
import { Job } from '../runs/runs.schema.js';
import { addApiOptions, withApi, type ApiFlags } from './api-address.js';
import type { ApiClient } from './api-client.js';
import { ArgumentInvalid, InputUnreadable } from './failure.js';
import { humanProgress } from './progress.js';
import { pushFile } from './push.js';
import { resultTable, stageTable } from './result-table.js';
import { stopOnSignal } from './stop.js';
import { pathOf, succeeded, watchJob } from './watch.js';

interface SubmitFlags extends ApiFlags {
  readonly dryRun?: true;
  readonly watch?: true;
}

interface ListFlags extends ApiFlags {
  readonly status?: string;
  readonly limit: string;
}

/** `submit`, `watch` and `jobs …`: what the jobs of a service need. */
export function addJobCommands(program: Command): void {
  addApiOptions(program.command('submit'))
    .argument('<job>', 'the job, a YAML file: model by its name, teacher by its id, prompt files by id or path')
    .option('--dry-run', 'only check the job, and print its plan')
    .option('--watch', 'stay and show how it goes')
    .description('give a distillation job to a service; prints its id')
    .action((file: string, flags: SubmitFlags) => withApi(flags, (client) => submit(client, file, flags)));

  addApiOptions(program.command('watch'))
    .argument('<id>', 'ftjob-…')
    .description('show how a job goes, from its beginning')
    .action((id: string, flags: ApiFlags) => withApi(flags, (client) => watch(client, id)));

  addListCommands(program.command('jobs').description('jobs of a service'));
}

function addListCommands(jobs: Command): void {
  addApiOptions(jobs.command('list'))
    .option('--status <status>', 'only those that are queued, running, …')
    .option('--limit <count>', 'how many, newest first', '20')
    .description('the newest jobs')
    .action((flags: ListFlags) => withApi(flags, (client) => list(client, flags)));

  for (const [order, description] of ORDERS) {
    addApiOptions(jobs.command(order))
      .argument('<id>', 'ftjob-…')
      .description(description)
      .action((id: string, flags: ApiFlags) => withApi(flags, async (client) => print((await client.post(`${pathOf(id)}/${order}`, {}, Job)).status)));
  }
}

const ORDERS = [
  ['cancel', 'stop a job for good; its checkpoints stay'],
  ['pause', 'let a job save a checkpoint and free its device'],
  ['resume', 'let a paused job go on'],
] as const;

async function submit(client: ApiClient, file: string, { dryRun, watch: stay }: SubmitFlags): Promise<void> {
  const body = await readJob(client, file);
  const job = await client.post(`/v1/fine_tuning/jobs${dryRun ? '?dry_run=true' : ''}`, body, Job, { idempotencyKey: randomUUID() });
  print(job.id);
  if (stay || dryRun) await watch(client, job.id);
}

async function watch(client: ApiClient, id: string): Promise<void> {
  const view = humanProgress();
  const signal = stopOnSignal(`the job goes on; look again with: limbeck watch ${id}`);
  const job = succeeded(await watchJob(client, id, view, signal).finally(() => view.close()));
  if (job.dry_run) print(JSON.stringify(job.plan, null, 2));
  else print(resultOf(job));
}

/** The tables that `limbeck distill` prints. */
function resultOf({ report, fine_tuned_model }: Job): string {
  const measured = report as RunReport; // made by the core of the service, and shown as it is
  return `${resultTable(measured)}\n\n${stageTable(measured.stages)}\n\nstudent: ${fine_tuned_model}`;
}

async function list(client: ApiClient, { status, limit }: ListFlags): Promise<void> {
  const count = Number(limit);
  if (!Number.isInteger(count) || count < 1) throw new ArgumentInvalid(`--limit is "${limit}"; give a whole number from 1 on`);
  let left = count;
  for await (const job of client.list(`/v1/fine_tuning/jobs?limit=${Math.min(count, PAGE_MOST)}${status === undefined ? '' : `&status=${encodeURIComponent(status)}`}`, Job)) {
    const percent = job.progress ? `${job.progress.label} ${job.progress.percent} %` : '';
    print([job.id, new Date(job.created_at * 1000).toISOString(), job.status.padEnd(16), job.model, job.fine_tuned_model ?? percent].join('  '));
    if (--left === 0) return;
  }
}

const PAGE_MOST = 100;

/** The request that a job file stands for; prompt files that are paths, seen from the file's own directory, are sent first. */
async function readJob(client: ApiClient, file: string): Promise<object> {
  const job = JobFile.safeParse(await readYaml(file));
  if (!job.success) throw new ArgumentInvalid(`${file}: ${job.error.issues.map(({ path, message }) => `${path.join('.') || 'the file'}: ${message}`).join('; ')}`);
  const idOf = async (name: string): Promise<string> => (name.startsWith('file-') ? name : (await pushFile(client, resolve(dirname(file), name))).id);
  return { ...job.data, training_file: await idOf(job.data.training_file), validation_file: await idOf(job.data.validation_file) };
}

const JobFile = z.looseObject({ training_file: z.string().min(1), validation_file: z.string().min(1) });

async function readYaml(file: string): Promise<unknown> {
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    throw new InputUnreadable(`${file} cannot be read (${cause instanceof Error ? cause.message : String(cause)}); check the path and its permissions`, { cause });
  });
  try {
    return parseYaml(text);
  } catch (cause) {
    throw new ArgumentInvalid(`${file} is not YAML: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

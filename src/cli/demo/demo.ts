import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';
import { Option, type Command } from 'commander';
import { startService, type RunningService } from '../../embedded/supervisor.js';
import { readModelConfig } from '../../model-files/config.js';
import { pruneModel } from '../../model-files/prune.js';
import { pullModel } from '../../model-files/pull.js';
import { ApiClient } from '../api-client.js';
import { writeJson } from '../json-file.js';
import { duration, humanProgress } from '../progress.js';
import { resultTable, stageTable } from '../result-table.js';
import { stopOnSignal } from '../stop.js';
import { answersSideBySide } from './answers.js';
import { RUNTIME_CHOICES, startDemoTeacher, type RuntimeChoice } from './demo-teacher.js';
import { expectedSeconds } from './expectation.js';
import { keptLayers, TEACHER_NAME } from './job-file.js';
import { demoPrompts, promptLines } from './prompts.js';
import { runThroughService, type DemoResult } from './submission.js';

interface DemoFlags {
  readonly data: string;
  readonly teacher?: string;
  readonly teacherRuntime: RuntimeChoice;
  readonly controls?: true;
  readonly keep?: true;
  readonly json?: string;
}

/** `demo`: a real teacher, a real student, both phases, through the service, from nothing to a table. */
export function addDemoCommand(program: Command): void {
  program
    .command('demo')
    .option('--data <dir>', 'where models, runs and the service go', '.limbeck/demo')
    .option('--teacher <dir>', 'a Hugging Face directory to use instead of SmolLM2-135M-Instruct; then no Python is needed')
    .addOption(new Option('--teacher-runtime <name>', 'what runs the teacher: onnx (float32), native (the engine, bf16), or auto, which measures both and takes the faster').choices(RUNTIME_CHOICES).default('auto'))
    .option('--controls', 'also train the hard-label control at three learning rates and score the unigram control')
    .option('--keep', 'leave service and teacher up afterwards, and say where, until Ctrl-C')
    .option('--json <file>', 'also write the report as JSON into the file')
    .description('distil SmolLM2-135M-Instruct into a student with fewer layers, through the service, from nothing to a table')
    .action(async (flags: DemoFlags) => runDemo(flags, stopOnSignal('the demo stops: job, service and teacher are ended')));
}

async function runDemo(flags: DemoFlags, signal: AbortSignal): Promise<void> {
  const data = resolve(flags.data);
  await mkdir(data, { recursive: true });
  const teacherDir = flags.teacher === undefined ? await fetchTeacher(data) : resolve(flags.teacher);
  const runDir = await freshRunDirectory(data);
  await writeInputs(runDir, teacherDir);
  const controls = flags.controls ? 'all' : 'none';
  say(`expects to take about ${duration(await expectedSeconds(join(runDir, 'start'), controls, humanProgress()))} here`);
  const apiKey = randomBytes(24).toString('hex');
  const teacher = await startDemoTeacher({ modelDir: teacherDir, modelName: TEACHER_NAME, port: 0, apiKey }, flags.teacherRuntime, say);
  try {
    say(`teacher: ${teacherDir} at ${teacher.url}`);
    await withService({ data, teacherUrl: teacher.url }, async (service) => {
      const client = new ApiClient({ url: service.url, key: service.adminKey });
      try {
        const result = await runThroughService(client, { runDir, teacher: { url: teacher.url, apiKey }, controls, view: humanProgress(), say, signal });
        await writeJson(flags.json, result.report);
        process.stdout.write(summary(result));
      } finally {
        await client.close();
      }
      if (flags.keep) await stayUp(service, teacher.url, signal);
    });
  } finally {
    await teacher.stop();
  }
}

/** Runs `work` beside a whole service whose data lie with the demo's, allowed to dial that one teacher. */
async function withService({ data, teacherUrl }: { readonly data: string; readonly teacherUrl: string }, work: (service: RunningService) => Promise<void>): Promise<void> {
  const allowed = { allowedTeachers: new URL(teacherUrl).origin };
  const service = await startService({ dataDir: join(data, 'service'), api: { port: 0, drainMs: 0, ...allowed }, worker: allowed, onNotice: say });
  try {
    say(`service: ${service.url}`);
    await work(service);
  } finally {
    await service.stop();
  }
}

async function stayUp(service: RunningService, teacherUrl: string, signal: AbortSignal): Promise<void> {
  const lines = [`API        ${service.url}`, `docs       ${service.url}/docs`, `teacher    ${teacherUrl}`, `admin key  ${service.adminKeyFile}`, 'Ctrl-C ends them.'];
  process.stdout.write(`${lines.join('\n')}\n`);
  if (!signal.aborted) await once(signal, 'abort');
}

async function fetchTeacher(data: string): Promise<string> {
  return pullModel('smollm2-135m-instruct', { outDir: join(data, TEACHER_NAME), onProgress: ({ what }) => say(what) });
}

/** The first free of run-1, run-2, …: a run that somebody may want to look at is never written over. */
async function freshRunDirectory(data: string): Promise<string> {
  const taken = new Set(await readdir(data));
  let number = 1;
  while (taken.has(`run-${number}`)) number += 1;
  const dir = join(data, `run-${number}`);
  await mkdir(dir);
  return dir;
}

async function writeInputs(runDir: string, teacherDir: string): Promise<void> {
  const { train, heldOut } = demoPrompts();
  await writeFile(join(runDir, 'train.jsonl'), promptLines(train));
  await writeFile(join(runDir, 'heldout.jsonl'), promptLines(heldOut));
  const { layers } = await readModelConfig(teacherDir);
  const kept = keptLayers(layers);
  say(`student: ${kept.length} of the teacher's ${layers} layers`);
  await pruneModel(teacherDir, join(runDir, 'start'), kept);
}

function summary({ report, before, after }: DemoResult): string {
  const shown = relative(process.cwd(), report.student_dir);
  return [
    '',
    resultTable(report),
    '',
    stageTable(report.stages),
    '',
    answersSideBySide(before, after),
    '',
    `The student is the model ${report.model} of the service, and lies in ${shown}. To run it:`,
    `  npm run limbeck -- teacher serve ${shown} --port 8001`,
    `or load ${join(shown, 'onnx', 'model.onnx')} with transformers.js.`,
    '',
  ].join('\n');
}

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

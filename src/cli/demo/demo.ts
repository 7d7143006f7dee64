import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';
import type { Command } from 'commander';
import { stringify as toYaml } from 'yaml';
import type { RunReport } from '../../distillation/report.js';
import { readModelConfig } from '../../model-files/config.js';
import { pruneModel } from '../../model-files/prune.js';
import { pullModel } from '../../model-files/pull.js';
import { runJob } from '../job.js';
import { duration, humanProgress } from '../progress.js';
import { resultTable, stageTable } from '../result-table.js';
import { stopOnSignal } from '../stop.js';
import { startTeacherProcess } from '../teacher-process.js';
import { answersSideBySide } from './answers.js';
import { expectedSeconds } from './expectation.js';
import { demoJob, keptLayers, TEACHER_KEY_VARIABLE, TEACHER_NAME } from './job-file.js';
import { demoPrompts, promptLines } from './prompts.js';

interface DemoFlags {
  readonly data: string;
  readonly teacher?: string;
  readonly controls?: true;
  readonly json?: string;
}

/** `demo`: a real teacher, a real student, both phases, from nothing to a table. */
export function addDemoCommand(program: Command): void {
  program
    .command('demo')
    .option('--data <dir>', 'where models and runs go', '.limbeck/demo')
    .option('--teacher <dir>', 'a Hugging Face directory of Llama architecture to use instead of SmolLM2-135M-Instruct; then no Python is needed')
    .option('--controls', 'also train the hard-label control at three learning rates and score the unigram control')
    .option('--json <file>', 'also write the report as JSON into the file')
    .description('distil SmolLM2-135M-Instruct into a student with fewer layers, from nothing to a table')
    .action(async (flags: DemoFlags) => {
      const signal = stopOnSignal('the demo stops at the next step');
      const report = await runDemo(flags, signal);
      if (flags.json !== undefined) await writeFile(flags.json, `${JSON.stringify(report, null, 2)}\n`);
    });
}

async function runDemo(flags: DemoFlags, signal: AbortSignal): Promise<RunReport> {
  const data = resolve(flags.data);
  await mkdir(data, { recursive: true });
  const teacherDir = flags.teacher === undefined ? await fetchTeacher(data) : resolve(flags.teacher);
  const runDir = await freshRunDirectory(data);
  await writeInputs(runDir, teacherDir);
  say(`expects to take about ${duration(await expectedSeconds(join(runDir, 'start'), flags.controls ? 'all' : 'none', humanProgress()))} here`);
  const apiKey = randomBytes(24).toString('hex');
  const teacher = await startTeacherProcess({ modelDir: teacherDir, modelName: TEACHER_NAME, port: 0, apiKey });
  try {
    say(`teacher: ${teacherDir} at ${teacher.url}`);
    const jobFile = join(runDir, 'job.yaml');
    await writeFile(jobFile, toYaml(demoJob(teacher.url, TEACHER_KEY_VARIABLE)));
    const report = await runJob({
      jobFile,
      outDir: join(runDir, 'run'),
      resume: 'fresh',
      controls: flags.controls ? 'all' : 'as_specified',
      view: humanProgress(),
      signal,
      secrets: { [TEACHER_KEY_VARIABLE]: apiKey },
    });
    process.stdout.write(await summary(report, join(runDir, 'run')));
    return report;
  } finally {
    await teacher.stop();
  }
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

async function summary(report: RunReport, outDir: string): Promise<string> {
  const studentDir = resolve(outDir, report.student_dir);
  const shown = existsSync(studentDir) ? relative(process.cwd(), studentDir) : report.student_dir;
  return [
    '',
    resultTable(report),
    '',
    stageTable(report.stages),
    '',
    await answersSideBySide(outDir),
    '',
    `The student lies in ${shown}. To run it:`,
    `  npm run limbeck -- teacher serve ${shown} --port 8001`,
    `or load ${join(shown, 'onnx', 'model.onnx')} with transformers.js.`,
    '',
  ].join('\n');
}

function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

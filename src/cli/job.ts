import { readFile, readdir, rmdir, statfs } from 'node:fs/promises';
import { availableParallelism, freemem } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { parse as parseYaml } from 'yaml';
import { secretFromEnvironment } from '../config/secret.js';
import { parsePrompts, type ChatPrompt } from '../distillation/prompts.js';
import type { RunReport } from '../distillation/report.js';
import { runDistillation, type RunContext } from '../distillation/run.js';
import { parseSpec, type Spec } from '../distillation/spec.js';
import { HostedEngine } from '../engine/host/hosted-engine.js';
import { ChatTemplate } from '../model-files/chat-template.js';
import { runInterchange } from '../model-files/onnx/run-interchange.js';
import { readModelConfig } from '../model-files/config.js';
import { Tokenizer } from '../model-files/tokenizer.js';
import { DirectoryStore } from '../storage/directory-store.js';
import { VllmTeacherClient } from '../teacher-clients/vllm/vllm-teacher-client.js';
import { ArgumentInvalid, InputUnreadable, OutDirectoryTaken } from './failure.js';
import type { ProgressView } from './progress.js';

/** Counts the attempts on an out directory; names of checkpoints carry it. */
const ATTEMPTS_FILE = 'attempts.json';

export interface JobOptions {
  /** The YAML file; paths in it are taken from its own directory. */
  readonly jobFile: string;
  /** Where everything of the run goes; must be empty unless `resume`. */
  readonly outDir: string;
  readonly resume: 'fresh' | 'resume';
  /** Whether the controls run even where the job does not ask for them. */
  readonly controls: 'as_specified' | 'all';
  readonly view: ProgressView;
  readonly signal: AbortSignal;
}

/** Runs one job from its file to its exported student. @throws AppError; before any work when an input is wrong. */
export async function runJob(options: JobOptions): Promise<RunReport> {
  const job = await openJob(options);
  try {
    return await runDistillation(job.context, options.signal);
  } finally {
    await job.close();
  }
}

/** A job whose inputs are read and whose teacher is connected; `close` lets the teacher go, and removes an out directory in which nothing was done. */
export interface OpenJob {
  readonly context: RunContext;
  close(): Promise<void>;
}

/** Reads everything a job names. @throws AppError; nothing is left behind then. */
export async function openJob(options: Omit<JobOptions, 'signal'>): Promise<OpenJob> {
  const spec = withControls(await readSpec(options.jobFile), options.controls);
  const inputs = await readInputs(spec, dirname(resolve(options.jobFile)));
  const taken = await isTaken(options.outDir);
  if (taken && options.resume === 'fresh') {
    throw new OutDirectoryTaken(`${options.outDir} is not empty; go on with --resume, or give another directory with --out`);
  }
  if (!taken && options.resume === 'resume') throw new OutDirectoryTaken(`${options.outDir} holds no run to resume; leave --resume out to start one`);
  const store = new DirectoryStore(resolve(options.outDir));
  await store.sweep('', (_, state) => state === 'unwritten'); // of attempts that died: there is one at a time
  const teacher = await connectTeacher(spec, inputs.modelDir);
  const context: RunContext = {
    spec,
    store,
    ...inputs,
    teacher,
    openEngine: (modelDir) => openStudentEngine(modelDir, options.view),
    runInterchange: (job) => runInterchange(job),
    clock: () => performance.now(),
    freeMemoryBytes: freemem(),
    freeDiskBytes: await freeDiskBytes(resolve(options.outDir)),
    onEvent: (event) => options.view.show(event),
    epoch: await nextAttempt(store),
  };
  const close = async (): Promise<void> => {
    options.view.close();
    await teacher.close();
    if (!taken) await removeIfUntouched(store, options.outDir);
  };
  return { context, close };
}

async function readSpec(jobFile: string): Promise<Spec> {
  const text = await readText(jobFile);
  let value: unknown;
  try {
    value = parseYaml(text);
  } catch (error) {
    throw new ArgumentInvalid(`${jobFile} is not YAML: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
  }
  return parseSpec(value);
}

function withControls(spec: Spec, controls: JobOptions['controls']): Spec {
  if (controls === 'as_specified') return spec;
  return { ...spec, method: { ...spec.method, distillation: { ...spec.method.distillation, controls } } };
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw new InputUnreadable(`${path} cannot be read (${error instanceof Error ? error.message : String(error)}); check the path and its permissions`, { cause: error });
  }
}

interface Inputs {
  readonly modelDir: string;
  readonly tokenizer: Tokenizer;
  readonly template: ChatTemplate;
  readonly trainingPrompts: readonly ChatPrompt[];
  readonly validationPrompts: readonly ChatPrompt[];
}

async function readInputs(spec: Spec, base: string): Promise<Inputs> {
  const modelDir = resolve(base, spec.model);
  const prompts = async (file: string): Promise<ChatPrompt[]> => parsePrompts(await readText(resolve(base, file)), file);
  return {
    trainingPrompts: await prompts(spec.training_file),
    validationPrompts: await prompts(spec.validation_file),
    modelDir,
    tokenizer: await Tokenizer.load(modelDir),
    template: await ChatTemplate.load(modelDir),
  };
}

async function connectTeacher(spec: Spec, modelDir: string): Promise<VllmTeacherClient> {
  const { base_url: baseUrl, api_key_env: keyName, model } = spec.method.distillation.teacher;
  const apiKey = keyName === undefined ? {} : { apiKey: secretFromEnvironment(keyName) };
  const { vocabSize } = await readModelConfig(modelDir); // rows of the embedding, padded ones included: the student can read every id below
  return new VllmTeacherClient({ baseUrl, model, vocabSize, ...apiKey });
}

async function isTaken(dir: string): Promise<boolean> {
  try {
    return (await readdir(dir)).length > 0;
  } catch {
    return false;
  }
}

async function nextAttempt(store: DirectoryStore): Promise<number> {
  const stored = await store.read(ATTEMPTS_FILE);
  const attempts = stored === undefined ? 0 : (JSON.parse(Buffer.from(stored).toString('utf8')) as { attempts: number }).attempts;
  await store.write(ATTEMPTS_FILE, Buffer.from(JSON.stringify({ attempts: attempts + 1 })));
  return attempts + 1;
}

/** Free bytes on the disk that will hold `dir`, which need not exist yet. */
async function freeDiskBytes(dir: string): Promise<number> {
  try {
    const { bavail, bsize } = await statfs(dir);
    return bavail * bsize;
  } catch (error) {
    if (dirname(dir) === dir) throw error;
    return freeDiskBytes(dirname(dir));
  }
}

/** A refusal before any work leaves no directory behind. */
async function removeIfUntouched(store: DirectoryStore, outDir: string): Promise<void> {
  const names = await readdir(outDir).catch(() => []);
  if (names.length !== 1 || names[0] !== ATTEMPTS_FILE) return;
  await store.remove(ATTEMPTS_FILE);
  await rmdir(outDir);
}

/** The native engine in a process of its own, on every core. */
export function openStudentEngine(modelDir: string, view: ProgressView): Promise<HostedEngine> {
  return HostedEngine.start({
    engine: { implementation: 'native', modelDir, threads: availableParallelism() },
    onWarning: (message) => view.show({ kind: 'warning', message }),
  });
}

/** Where a job's run goes when the caller does not say. */
export function defaultOutDir(jobFile: string): string {
  return join('runs', basename(jobFile).replace(/[.]ya?ml$/, ''));
}

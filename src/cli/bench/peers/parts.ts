import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { compete, curveFigure, curveTable, memoryFigure, rateFigure, type Contestant, type PeerFigure, type Result, type Schedule } from './contest.js';
import { EngineSide, type Generation } from './engine-side.js';
import { run, type PeerEnvironment } from './environment.js';
import { PeerFailed, PeerProcess } from './peer-process.js';
import { fastestSetting, settingText, threadSettings, threadVariables, type ThreadSetting } from './threads.js';
import { OPTIMIZER, STEP, SUPPORT, type Workload } from './workload.js';

/** What a comparison needs. */
export interface PartContext {
  readonly workload: Workload;
  readonly environment: PeerEnvironment;
  /** Milliseconds that never go back. */
  readonly clock: () => number;
  readonly say: (line: string) => void;
  /** Takes the figures of every contest as soon as it has ended. */
  readonly report: (figures: readonly PeerFigure[]) => Promise<void>;
}

/** The first step is not timed, but it is on the loss curve. */
const TRAINING: Schedule = { warmUps: 1, rounds: 5 };
const GENERATING: Schedule = { warmUps: 1, rounds: 5 };
const BATCHES = [32, 8, 1];
const TUNED_BATCH = 8;
const REQUEST = { promptTokens: 32, newTokens: 64 } as const;

const PARTS = { trl: compareTrl, pytorch: comparePyTorch, generate: compareGenerate, 'llama.cpp': compareLlama };
export type PartName = keyof typeof PARTS;
export const PART_NAMES = Object.keys(PARTS) as PartName[];

/** One comparison on one workload. */
export function runPart(part: PartName, context: PartContext): Promise<void> {
  return PARTS[part](context);
}

async function compareTrl(context: PartContext): Promise<void> {
  const setting = await tuned(context, (chosen) => openTrl(context, chosen, 1));
  const results = await contest(context, TRAINING, [() => EngineSide.trainerWithTeacher(context.workload), () => openTrl(context, setting, STEP.sequences)]);
  await context.report(trainingFigures(context, 'train step with the teacher', results));
}

async function comparePyTorch(context: PartContext): Promise<void> {
  const setting = await tuned(context, (chosen) => openLoop(context, chosen, { sequences: 1, compile: false }));
  const against = async (loop: 'plain' | 'compiled'): Promise<void> => {
    const compile = loop === 'compiled';
    const results = await contest(context, TRAINING, [() => EngineSide.trainer(context.workload), () => openLoop(context, setting, { sequences: STEP.sequences, compile })]);
    await context.report(trainingFigures(context, 'train step on stored targets', results));
  };
  await against('plain');
  try {
    await against('compiled');
  } catch (error) {
    if (!(error instanceof PeerFailed)) throw error;
    context.say(`torch.compile does not work here: ${error.message}`);
  }
}

async function compareGenerate(context: PartContext): Promise<void> {
  const setting = await tuned(context, (chosen) => openGenerate(context, chosen, { ...REQUEST, batch: TUNED_BATCH, newTokens: 16 }));
  for (const batch of BATCHES) {
    const generation = { ...REQUEST, batch };
    const results = await contest(context, GENERATING, [() => EngineSide.generator(context.workload, generation), () => openGenerate(context, setting, generation)]);
    await context.report([rateFigure(generationName(context, generation), results, { amount: batch * generation.newTokens, unit: 'new tok' })]);
  }
}

async function compareLlama(context: PartContext): Promise<void> {
  const generation = { ...REQUEST, batch: 1 };
  const gguf = await bf16Gguf(context);
  const setting = await tuned(context, (chosen) => openLlama(context, chosen, { gguf, generation }));
  const results = await contest(context, GENERATING, [() => EngineSide.generator(context.workload, generation), () => openLlama(context, setting, { gguf, generation })]);
  await context.report([rateFigure(generationName(context, generation), results, { amount: generation.newTokens, unit: 'new tok' })]);
}

async function tuned({ clock, say }: PartContext, open: (setting: ThreadSetting) => Promise<PeerProcess>): Promise<ThreadSetting> {
  let peer = '';
  const setting = await fastestSetting(threadSettings(), async (chosen) => {
    const side = await open(chosen);
    peer = side.name;
    return side;
  }, clock);
  say(`${peer}: fastest with ${settingText(setting)}`);
  return setting;
}

/** Opens both sides, lets them compete and closes them. */
async function contest({ clock }: PartContext, schedule: Schedule, open: readonly [ours: () => Promise<Contestant>, theirs: () => Promise<Contestant>]): Promise<[Result, Result]> {
  const sides: Contestant[] = [];
  try {
    for (const side of open) sides.push(await side());
    return await compete([sides[0], sides[1]], schedule, clock);
  } finally {
    for (const side of sides) await side.close();
  }
}

function trainingFigures({ workload, say }: PartContext, name: string, results: readonly [Result, Result]): PeerFigure[] {
  const { sequences, length, promptTokens } = STEP;
  const title = `${name}, ${workload.shape}, ${sequences}x${length} tokens`;
  say(`losses of ${title}\n${curveTable(results)}`);
  return [
    rateFigure(title, results, { amount: sequences * length, unit: 'tok' }),
    rateFigure(title, results, { amount: sequences * (length - promptTokens), unit: 'tok with loss' }),
    memoryFigure(`peak memory of ${title}`, results),
    curveFigure(`loss of ${title}`, results),
  ];
}

function generationName({ workload }: PartContext, { batch, promptTokens, newTokens }: Generation): string {
  return `generation, ${workload.shape}, batch ${batch}, ${promptTokens} + ${newTokens} tokens`;
}

function openTrl(context: PartContext, setting: ThreadSetting, sequences: number): Promise<PeerProcess> {
  const { studentDir, teacherDir, files } = context.workload;
  return openScript(context, setting, ['train_trl.py', { ...STEP, sequences, studentDir, teacherDir, tokens: files.tokens, optimizer: OPTIMIZER, steps: TRAINING.warmUps + TRAINING.rounds, endId: 2 }]);
}

function openLoop(context: PartContext, setting: ThreadSetting, { sequences, compile }: { readonly sequences: number; readonly compile: boolean }): Promise<PeerProcess> {
  const { studentDir, files } = context.workload;
  return openScript(context, setting, ['train_plain.py', { ...STEP, ...files, sequences, compile, studentDir, support: SUPPORT, optimizer: OPTIMIZER }]);
}

function openGenerate(context: PartContext, setting: ThreadSetting, { batch, promptTokens, newTokens }: Generation): Promise<PeerProcess> {
  const { studentDir, files } = context.workload;
  return openScript(context, setting, ['generate.py', { studentDir, tokens: files.tokens, length: STEP.length, sequences: batch, promptTokens, newTokens }]);
}

function openScript({ environment }: PartContext, setting: ThreadSetting, [script, values]: readonly [string, object]): Promise<PeerProcess> {
  return PeerProcess.start({ command: [environment.python, environment.script(script), JSON.stringify(values)], variables: threadVariables(setting) });
}

function openLlama({ workload, environment }: PartContext, setting: ThreadSetting, { gguf, generation }: { readonly gguf: string; readonly generation: Generation }): Promise<PeerProcess> {
  const values = { ...environment.llama, ...generation, gguf, tokens: workload.files.tokens, threads: setting.threads };
  return PeerProcess.start({ command: [process.execPath, environment.script('llama.mjs'), JSON.stringify(values)], variables: threadVariables(setting) });
}

async function bf16Gguf({ workload, environment, say }: PartContext): Promise<string> {
  const file = join(workload.studentDir, '..', 'student.gguf');
  if (existsSync(file)) return file;
  say(`peers: writing ${file}`);
  await run([environment.python, environment.script('write_gguf.py'), workload.studentDir, file], '.');
  return file;
}

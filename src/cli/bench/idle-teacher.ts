import { existsSync } from 'node:fs';
import type { Engine } from '../../engine/engine.js';
import { ArgumentInvalid } from '../failure.js';
import { openStudentEngine } from '../job.js';
import { humanProgress } from '../progress.js';
import { startTeacherProcess } from '../teacher-process.js';
import type { Figure } from './figure.js';
import { median } from './median.js';

const PAIRS = 5;
const SLOTS = 16;
const PROMPT_TOKENS = 32;
const NEW_TOKENS = 64;

/**
 * Decode with a teacher server alive but idle, against the engine alone. The two are taken in turns on one server, which SIGSTOP takes away and SIGCONT brings back, so
 * that drift of the machine falls on both; a stopped process can use no core.
 */
export async function measureIdleTeacher(modelDir: string): Promise<Figure[]> {
  if (!existsSync(modelDir)) throw new ArgumentInvalid(`there is no model at ${modelDir}; run the demo once, or name a directory with --model`);
  const engine = await openStudentEngine(modelDir, humanProgress());
  try {
    return [await besideIdleTeacher(engine, modelDir)];
  } finally {
    await engine.close();
  }
}

async function besideIdleTeacher(engine: Engine, modelDir: string): Promise<Figure> {
  const teacher = await startTeacherProcess({ modelDir, port: 0 });
  const alone: number[] = [];
  const beside: number[] = [];
  try {
    await decodeSeconds(engine);
    for (let pair = 0; pair < PAIRS; pair++) {
      teacher.freeze();
      alone.push(await decodeSeconds(engine));
      teacher.thaw();
      beside.push(await decodeSeconds(engine));
    }
  } finally {
    teacher.thaw();
    await teacher.stop();
  }
  const step = (seconds: readonly number[]): number => (1000 * median(seconds)) / NEW_TOKENS;
  const shape = `${SLOTS} sequences, context ${PROMPT_TOKENS} to ${PROMPT_TOKENS + NEW_TOKENS}`;
  const ratio = step(beside) / step(alone);
  return { name: 'decode step beside an idle teacher (limit: alone)', shape, value: step(beside), unit: 'ms', limit: step(alone), share: ratio };
}

/** Seconds of one request that writes exactly `NEW_TOKENS` ids a sequence: no id stops it. */
async function decodeSeconds(engine: Engine): Promise<number> {
  const prompts = Array.from({ length: SLOTS }, (_, sample) => ({ ids_T: Int32Array.from({ length: PROMPT_TOKENS }, (_, t) => 100 + ((sample * 31 + t * 17) % 1000)), sample }));
  const sampling = { temperature: 1, topP: 1, topK: 0, maxTokens: NEW_TOKENS, stopIds: [] };
  const begin = performance.now();
  for await (const completion of engine.sample({ prompts, sampling, key: { seed: 1, stage: 0, step: 0 } })) void completion;
  return (performance.now() - begin) / 1000;
}

import { AppError } from '../../common/errors.js';
import type { TeacherRuntimeName, TeacherSettingsInput } from '../../config/teacher-settings.js';
import { startTeacherProcess, type TeacherProcess } from '../teacher-process.js';

/** What may be asked of the demo: a runtime of the teacher server, or whichever is faster here. */
export const RUNTIME_CHOICES = ['onnx', 'native', 'auto'] as const;
export type RuntimeChoice = (typeof RUNTIME_CHOICES)[number];

/** What the teacher does in a run, in small: 8 sequences of 64 tokens are scored, and 8 prompts of 32 tokens answered with 16. */
const PROBES = [
  { length: 64, fields: { max_tokens: 1, temperature: 0, prompt_logprobs: 64 } },
  { length: 32, fields: { max_tokens: 16, seed: 1, ignore_eos: true, logprobs: 64 } },
] as const;
const SEQUENCES = 8;
/** Of each runtime, in turn; the fastest counts, because whatever else the machine does only adds. */
const ROUNDS = 3;
/** Of the time of `onnx`: `native` is taken below it, so that runtimes of equal speed do not change places from run to run. */
const CLEARLY_FASTER = 0.9;

/** A teacher that was just started does not answer. */
class TeacherNotMeasured extends AppError {
  readonly code = 'cli.teacher_not_measured';
  readonly kind = 'unavailable';
}

/** Starts the teacher on the runtime asked for and says which it is; for `auto` both are started and measured, and the slower one is stopped. */
export async function startDemoTeacher(settings: TeacherSettingsInput, choice: RuntimeChoice, say: (text: string) => void): Promise<TeacherProcess> {
  if (choice !== 'auto') {
    say(`the teacher runs on the ${choice} runtime, as asked for`);
    return startTeacherProcess({ ...settings, runtime: choice });
  }
  const started: TeacherProcess[] = [];
  try {
    for (const runtime of ['onnx', 'native'] as const) started.push(await startTeacherProcess({ ...settings, runtime }));
    return await keepFaster({ onnx: started[0], native: started[1] }, settings.apiKey, say);
  } catch (error) {
    await Promise.all(started.map((teacher) => teacher.stop()));
    throw error;
  }
}

type Teachers = Readonly<Record<TeacherRuntimeName, TeacherProcess>>;

async function keepFaster(teachers: Teachers, apiKey: string | undefined, say: (text: string) => void): Promise<TeacherProcess> {
  const ms = await measured(teachers, apiKey);
  const faster = fasterRuntime(ms);
  say(`the teacher runs on the ${faster} runtime: its probe took ${ms.native.toFixed(0)} ms on native and ${ms.onnx.toFixed(0)} ms on onnx here`);
  await teachers[faster === 'native' ? 'onnx' : 'native'].stop();
  return teachers[faster];
}

/** @param ms how long each runtime took for the same work. */
export function fasterRuntime({ onnx, native }: Readonly<Record<TeacherRuntimeName, number>>): TeacherRuntimeName {
  return native < CLEARLY_FASTER * onnx ? 'native' : 'onnx';
}

async function measured({ onnx, native }: Teachers, apiKey: string | undefined): Promise<Record<TeacherRuntimeName, number>> {
  const best = { onnx: Infinity, native: Infinity };
  await probeMs(onnx.url, apiKey); // the first time, memory is reserved
  await probeMs(native.url, apiKey);
  for (let round = 0; round < ROUNDS; round++) {
    best.onnx = Math.min(best.onnx, await probeMs(onnx.url, apiKey));
    best.native = Math.min(best.native, await probeMs(native.url, apiKey));
  }
  return best;
}

async function probeMs(url: string, apiKey: string | undefined): Promise<number> {
  const begin = performance.now();
  for (const { length, fields } of PROBES) {
    const prompt = Array.from({ length: SEQUENCES }, (_, sequence) => Array.from({ length }, (_, t) => 100 + ((sequence * 31 + t * 7) % 150)));
    const headers = { 'content-type': 'application/json', ...(apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` }) };
    const answer = await fetch(`${url}/v1/completions`, { method: 'POST', headers, body: JSON.stringify({ prompt, ...fields }) });
    const words = await answer.text();
    if (!answer.ok) throw new TeacherNotMeasured(`the teacher at ${url} answered ${answer.status} to its probe: ${words}`);
  }
  return performance.now() - begin;
}

import type { Completion, Engine, SampleRequest } from '../../engine/engine.js';
import { readModelConfig } from '../../model-files/config.js';
import type { Case, Setting } from './case.js';
import { figure, type Figure } from './figure.js';
import { readRate } from './limits.js';
import { median } from './median.js';
import { clockNativeCalls } from './native-time.js';
import { decodeSeconds, type MachineRates } from './roofline.js';
import type { ShapeName } from './shapes.js';
import { withEngine } from './train-step.js';

const PROMPT_TOKENS = 16;
/** Steps around a context whose median is its figure. */
const WINDOW = 24;
/** Requests that are measured. */
const MOST_ROUNDS = 3;

/** Decode steps at one batch size and several contexts, which one request passes through, each against formula (b) of the performance reference. */
export function decodeCase(model: ShapeName, { batch, contexts }: { readonly batch: number; readonly contexts: readonly number[] }, { name, scope }: Pick<Case, 'name' | 'scope'>): Case {
  const shape = `${model}, batch ${batch}, contexts to ${Math.max(...contexts)}`;
  return { name, shape, model: { name: model }, scope, measure: (setting) => measureDecode(setting, { batch, contexts, name, model }) };
}

async function measureDecode(setting: Setting, { batch, contexts, name, model }: { batch: number; contexts: readonly number[]; name: string; model: ShapeName }): Promise<Figure[]> {
  const { probes, kernels } = setting;
  const config = await readModelConfig(setting.modelDir);
  const asked = request(batch, Math.max(...contexts) + WINDOW / 2);
  const ends: number[] = [];
  const native = clockNativeCalls(kernels, { sampleToken: ends });
  const runs: Run[] = [];
  const limits: MachineRates[] = [];
  const measureLimits = () => void limits.push({ readRate: readRate(setting), productRate: probes.registerPeak() });
  await withEngine(setting, async (engine) => {
    await completions(engine, asked); // unmeasured
    for (let round = 0; round < Math.min(setting.rounds, MOST_ROUNDS); round++) {
      measureLimits();
      ends.length = 0;
      native.reset();
      const begin = performance.now();
      await completions(engine, asked);
      runs.push({ ends: [...ends], wall: (performance.now() - begin) / 1000, inside: native.seconds() });
    }
  });
  measureLimits();
  const rates = { readRate: median(limits.map((limit) => limit.readRate)), productRate: median(limits.map((limit) => limit.productRate)) };
  const goal = name.startsWith('gate') ? { goal: { atLeast: 0.5 } } : {};
  const steps = asked.sampling.maxTokens;
  return [
    ...contexts.map((context) =>
      figure({ name, shape: `${model}, batch ${batch}, context ${context}`, value: batch / stepSeconds(runs, context), unit: 'tok/s', limit: batch / decodeSeconds(config, { batch, context }, rates), ...goal }),
    ),
    figure({
      name: "typescript's share of a decode step", shape: `${model}, batch ${batch}`, unit: 'ms', goal: { atMost: 0.1 },
      value: (1000 * median(runs.map(({ wall, inside }) => wall - inside))) / steps, limit: (1000 * median(runs.map(({ wall }) => wall))) / steps,
    }),
  ];
}

/** One request: when each id was drawn, milliseconds; how long it took, and how much of that inside native calls, seconds. */
interface Run {
  readonly ends: readonly number[];
  readonly wall: number;
  readonly inside: number;
}

// Id number i (from 0) of every sequence is drawn at ends[i], after it attended to PROMPT_TOKENS + i tokens.
function stepSeconds(runs: readonly Run[], context: number): number {
  const from = Math.max(1, context - PROMPT_TOKENS - WINDOW / 2);
  return median(runs.flatMap(({ ends }) => Array.from({ length: WINDOW }, (_, i) => ends[from + i] - ends[from + i - 1]))) / 1000;
}

function request(batch: number, tokens: number): SampleRequest {
  const prompts = Array.from({ length: batch }, (_, sample) => ({ ids_T: promptIds(sample, PROMPT_TOKENS), sample }));
  return { prompts, sampling: { temperature: 1, topP: 1, topK: 0, maxTokens: tokens - PROMPT_TOKENS, stopIds: [] }, key: { seed: 1, stage: 0, step: 0 } };
}

/** Made-up ids of a prompt. */
export function promptIds(sample: number, length: number): Int32Array {
  return Int32Array.from({ length }, (_, t) => 3 + ((sample * 31 + t * 17) % 500));
}

/** All that a request yields. */
export async function completions(engine: Engine, request: SampleRequest): Promise<Completion[]> {
  const all: Completion[] = [];
  for await (const completion of engine.sample(request)) all.push(completion);
  return all;
}

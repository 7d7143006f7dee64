import { drawUniform } from '../../common/philox.js';
import type { Completion, Engine, RandomKey, SamplePrompt } from '../../engine/engine.js';
import type { Sampling } from '../../tokens/sample.js';
import { readModelConfig } from '../../model-files/config.js';
import { logNormalLengths, type LengthMix } from './batches.js';
import { modelText, type Case, type CaseModel, type Scope, type Setting } from './case.js';
import { completions, promptIds } from './decode.js';
import { figure, type Figure } from './figure.js';
import { median } from './median.js';
import { withEngine } from './train-step.js';
import { secondsUntil } from './turns.js';

const SEQUENCES = 128;
const GROUP = 32;
const PROMPT_TOKENS = 8;
const KEY: RandomKey = { seed: 1, stage: 0, step: 0 };
/** Probability that a step ends a sequence: the share of all ids, the lowest, that stop. */
const STOP_SHARE = 1 / 32;

/**
 * All sequences in one request, whose free slots are filled at once, against static batches: groups that are admitted together and run together until their longest has
 * ended, as `generate` does (Yu et al. 2022, Orca, section 3.1). Beside it the same groups whose sequences leave when they end, which costs little where a step takes
 * as long as its rows need. The lengths are heavy-tailed because of the random keys: an id below the stop ids' share of the mass is drawn where the uniform number is
 * below that share, so keys are taken whose first such number comes where the wanted length has it.
 */
export function continuousCase(model: CaseModel, mix: LengthMix, scope: Scope): Case {
  const name = 'gate continuous';
  const shape = `${modelText(model)}, ${SEQUENCES} sequences in ${GROUP} slots`;
  return { name, shape, model, scope, measure: (setting) => measureContinuous(setting, { name, shape, mix }) };
}

async function measureContinuous(setting: Setting, { name, shape, mix }: { name: string; shape: string; mix: LengthMix }): Promise<Figure[]> {
  const { vocabSize } = await readModelConfig(setting.modelDir);
  const sampling = { temperature: 1, topP: 1, topK: 0, maxTokens: mix.most, stopIds: Array.from({ length: Math.floor(vocabSize * STOP_SHARE) }, (_, id) => id) };
  const prompts = samplesOfLengths(logNormalLengths(mix, SEQUENCES)).map((sample): SamplePrompt => ({ ids_T: promptIds(sample % SEQUENCES, PROMPT_TOKENS), sample }));
  const write = (engine: Engine, some: readonly SamplePrompt[], changed: Partial<Sampling> = {}): Promise<Completion[]> => completions(engine, { prompts: some, sampling: { ...sampling, ...changed }, key: KEY });
  const [all, fixed, leaving]: number[][] = [[], [], []];
  const lengths = await withEngine(setting, async (engine) => {
    const written: number[] = [];
    for (const { index, ids_T } of await write(engine, prompts)) written[index] = ids_T.length;
    const groups = Array.from({ length: SEQUENCES / GROUP }, (_, g) => ({
      prompts: prompts.slice(g * GROUP, (g + 1) * GROUP), toTheLongest: { maxTokens: Math.max(...written.slice(g * GROUP, (g + 1) * GROUP)), stopIds: [] },
    }));
    for (let round = 0; round < setting.rounds; round++) {
      all.push(await secondsUntil(() => write(engine, prompts)));
      fixed.push(await secondsUntil(async () => {
        for (const group of groups) await write(engine, group.prompts, group.toTheLongest);
      }));
      leaving.push(await secondsUntil(async () => {
        for (const group of groups) await write(engine, group.prompts);
      }));
    }
    return written;
  });
  const tokens = lengths.reduce((sum, length) => sum + length, 0);
  const spread = `lengths: median ${median(lengths)}, mean ${(tokens / lengths.length).toFixed(0)}, most ${Math.max(...lengths)}`;
  const [value, unit] = [tokens / median(all), 'tok/s'];
  return [
    figure({ name, shape: `${shape}, ${spread}`, value, unit, limit: tokens / median(fixed), goal: { atLeast: 1.5 } }),
    figure({ name: 'continuous over groups that shrink', shape, value, unit, limit: tokens / median(leaving) }),
  ];
}

/** A sample number for each length whose draws fall below the stop share there, or within a tenth of it, for the first time. */
export function samplesOfLengths(lengths: readonly number[]): number[] {
  let sample = 0;
  return lengths.map((wanted) => {
    for (; ; sample++) {
      const length = firstStop(sample, 2 * wanted);
      if (Math.abs(length - wanted) <= wanted / 10) return sample++;
    }
  });
}

/** Tokens up to and with the first draw below the stop share; `limit` when it comes no earlier. */
function firstStop(sample: number, limit: number): number {
  for (let position = 0; position < limit; position++) {
    if (drawUniform({ ...KEY, sample, position }) < STOP_SHARE) return position + 1;
  }
  return limit;
}

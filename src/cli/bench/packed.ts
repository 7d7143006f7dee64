import type { Engine } from '../../engine/engine.js';
import { readModelConfig } from '../../model-files/config.js';
import type { PackedBatch } from '../../tokens/batch.js';
import { AppError } from '../../common/errors.js';
import { distillBatch, logNormalLengths, paddedPlan, type LengthMix } from './batches.js';
import { modelText, type Case, type CaseModel, type Scope, type Setting } from './case.js';
import { figure, type Figure } from './figure.js';
import { median } from './median.js';
import { withEngine } from './train-step.js';
import { secondsUntil } from './turns.js';

const SEQUENCES = 16;
const MICRO_BATCH = 8;
/** Largest relative difference of the two losses: other rows in a product may change the order of a sum. */
const SAME_LOSS = 1e-4;

/** Both ways of laying sequences out have to give one loss. */
class LossesDiffer extends AppError {
  readonly code = 'bench.losses_differ';
  readonly kind = 'bug';
}

/** Training on sequences end to end against sequences filled to the longest of their micro-batch, with the same rows of loss; a step less its AdamW, which is the same. */
export function packedCase(model: CaseModel, mix: LengthMix, scope: Scope): Case {
  const name = 'gate packed';
  const shape = `${modelText(model)}, ${SEQUENCES} sequences, micro-batches of ${MICRO_BATCH}`;
  return { name, shape, model, scope, measure: (setting) => measurePacked(setting, { name, shape, mix }) };
}

async function measurePacked(setting: Setting, { name, shape, mix }: { name: string; shape: string; mix: LengthMix }): Promise<Figure[]> {
  const { vocabSize } = await readModelConfig(setting.modelDir);
  const lengths = logNormalLengths(mix, SEQUENCES);
  const groups = Array.from({ length: SEQUENCES / MICRO_BATCH }, (_, g) => lengths.slice(g * MICRO_BATCH, (g + 1) * MICRO_BATCH));
  const packed = groups.map((group) => distillBatch(vocabSize, { lengths: group }));
  const padded = groups.map((group) => distillBatch(vocabSize, paddedPlan(group)));
  const [packedSeconds, paddedSeconds]: number[][] = [[], []];
  let apart = 0;
  await withEngine(setting, async (engine) => {
    apart = relativeDifference(await accumulate(engine, packed), await accumulate(engine, padded));
    for (let round = 0; round < setting.rounds; round++) {
      packedSeconds.push(await secondsUntil(() => accumulate(engine, packed)));
      paddedSeconds.push(await secondsUntil(() => accumulate(engine, padded)));
    }
  });
  const tokens = lengths.reduce((sum, length) => sum + length, 0);
  const filled = padded.reduce((sum, { tokens_N }) => sum + tokens_N.length, 0);
  return [
    figure({
      name, shape: `${shape}, ${tokens} tokens, ${filled} with padding, losses ${apart.toExponential(0)} apart`,
      value: tokens / median(packedSeconds), unit: 'tok/s', limit: tokens / median(paddedSeconds), goal: { atLeast: 1.6 },
    }),
  ];
}

/** @returns the loss summed over the micro-batches, nats. */
async function accumulate(engine: Engine, batches: readonly PackedBatch[]): Promise<number> {
  const rows = batches.reduce((sum, { rows_R }) => sum + rows_R.length, 0);
  let lossNats = 0;
  for (const batch of batches) lossNats += (await engine.forwardBackward(batch, { kind: 'forward_kl', truncation: 'tail_bucket' }, rows)).lossNats;
  return lossNats;
}

/** How far the losses are from each other. @throws LossesDiffer when that is more than roundings explain. */
function relativeDifference(packed: number, padded: number): number {
  const apart = Math.abs(packed - padded) / Math.abs(padded);
  if (apart <= SAME_LOSS) return apart;
  throw new LossesDiffer(`the loss is ${packed} nats packed and ${padded} nats padded; padding must change nothing`);
}

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ModelDirectory, toFloat32 } from '../../src/model-files/model-directory.js';
import { LOSS_KINDS, type LossKind, type LossSpec } from '../../src/tokens/loss.js';
import { compareGradients, NATIVE, REFERENCE, type EngineKind, type TestedEngine } from '../support/engines.js';
import { listed, weightOf } from '../support/scored-batch.js';
import { GOLDEN_MODELS, readGolden, type Golden } from './golden-file.js';

/** How near an engine must come to what transformers computed in float64. */
interface Bounds {
  /** Largest and root mean square distance of a log-prob, nats. */
  readonly logProb: (golden: Golden) => { readonly largest: number; readonly rms: number };
  /** Relative L2 distance of the whole gradient. */
  readonly gradient: (golden: Golden, kind: LossKind) => number;
  readonly loss: number;
  /** Relative distance of each loss and gradient norm of the ten steps. */
  readonly training: number;
  /** L2 distance of the final weights from the golden's, by the distance these went. */
  readonly offCourse: number;
}

/** The reference is seen through a seam whose log-probs are float32. */
const FLOAT64: Bounds = { logProb: () => ({ largest: 1e-6, rms: 1e-6 }), gradient: () => 1e-12, loss: 1e-12, training: 1e-9, offCourse: 1e-9 };
/**
 * An engine in bf16 may be as far from float64 as transformers' own bf16 run of the same model, and half as far again in a gradient. A single largest distance is
 * mostly luck, hence twice.
 */
const BF16: Bounds = {
  logProb: ({ bf16 }) => ({ largest: 2 * bf16.logProb, rms: bf16.logProbRms }), gradient: ({ bf16 }, kind) => 1.5 * bf16.gradient(kind), loss: 5e-3, training: 5e-2, offCourse: 0.15,
};

const ENGINES: readonly (EngineKind & { readonly bounds: Bounds })[] = [
  { ...REFERENCE, bounds: FLOAT64 },
  { ...NATIVE, bounds: BF16 },
];

const lossOf = (kind: LossKind): LossSpec => (kind === 'hard' ? { kind } : { kind, truncation: 'tail_bucket' });

const table: Record<string, string | number>[] = [];
afterAll(() => console.table(table));

describe.each(ENGINES)('$name', ({ name, open, bounds }) => {
  describe.each(GOLDEN_MODELS)('on the model %s of Hugging Face transformers', (model) => {
    let golden: Golden;
    let engine: TestedEngine;
    let scratch: string;

    beforeAll(async () => {
      golden = await readGolden(model);
      scratch = await mkdtemp(join(tmpdir(), 'limbeck-golden-'));
    });
    afterAll(() => rm(scratch, { recursive: true, force: true }));
    afterEach(() => engine.close());

    it('gives the logits', async () => {
      engine = await open(golden.modelDir);
      const { tokens_N, cuSeqlens_S1 } = golden.batch;
      const starts = cuSeqlens_S1.subarray(0, -1);
      const sequences = Array.from(starts, (start, s) => ({ ids_T: tokens_N.slice(start, cuSeqlens_S1[s + 1]), from: 1 }));
      const V = (await engine.describe()).vocabSize;
      const distances: number[] = [];
      for (const { index, offsets_R1, ids_S, logProbs_S } of await listed(engine.score({ sequences, k: V }))) {
        for (let r = 0; r < offsets_R1.length - 1; r++) {
          const wanted_V = logSoftmax(golden.logits_NV.subarray((cuSeqlens_S1[index] + r) * V, (cuSeqlens_S1[index] + r + 1) * V));
          for (let s = offsets_R1[r]; s < offsets_R1[r + 1]; s++) distances.push(Math.abs(logProbs_S[s] - wanted_V[ids_S[s]]));
        }
      }
      const largest = Math.max(...distances);
      const rms = Math.hypot(...distances) / Math.sqrt(distances.length);
      table.push({ engine: name, model, what: 'log-probs', 'largest distance': short(largest), 'distance, rms': short(rms) });
      expect(largest).toBeLessThan(bounds.logProb(golden).largest);
      expect(rms).toBeLessThan(bounds.logProb(golden).rms);
    });

    it.each(LOSS_KINDS)('gives the loss %s and every gradient', async (kind) => {
      engine = await open(golden.modelDir);
      const { lossNats, weightSum } = await engine.forwardBackward(golden.batch, lossOf(kind), weightOf(golden.batch));
      expect(weightSum).toBe(weightOf(golden.batch));
      const lossError = Math.abs(lossNats / golden.lossNats(kind) - 1);
      const error = compareGradients((await engine.readGradients?.()) ?? new Map(), golden.gradients(kind));
      const measured = { 'loss, relative': short(lossError), 'gradient, 1 - cosine': short(1 - error.cosine), 'gradient, relative L2': short(error.relativeL2) };
      table.push({ engine: name, model, what: kind, ...measured });
      expect(lossError).toBeLessThan(bounds.loss);
      expect(error.relativeL2).toBeLessThan(bounds.gradient(golden, kind));
    });

    it('writes the greedy tokens', async () => {
      engine = await open(golden.modelDir);
      const { prompt_T, ids_T, gaps_T } = golden.greedy;
      expect(Math.min(...gaps_T)).toBeGreaterThan(0.1); // nats between the first and the second choice: a bf16 engine must decide alike
      const sampling = { temperature: 0, topP: 1, topK: 0, maxTokens: ids_T.length, stopIds: [] };
      const [completion] = await listed(engine.sample({ prompts: [{ ids_T: prompt_T, sample: 0 }], sampling, key: { seed: 0, stage: 0, step: 0 } }));
      expect([...completion.ids_T]).toEqual([...ids_T]);
    });

    it('takes the ten optimiser steps', async () => {
      engine = await open(golden.modelDir);
      const { optimiser, kinds, losses, norms, final } = golden.training;
      for (const [step, kind] of kinds.entries()) {
        const { lossNats } = await engine.forwardBackward(golden.batch, lossOf(kind), weightOf(golden.batch));
        const { gradNorm } = await engine.optimStep(optimiser);
        expect(Math.abs(lossNats / losses[step] - 1), `loss of step ${step}`).toBeLessThan(bounds.training);
        expect(Math.abs(gradNorm / norms[step] - 1), `gradient norm of step ${step}`).toBeLessThan(bounds.training);
      }
      const off = offCourse({ start: await storedWeights(golden.modelDir), reached: await weightsOf(engine, join(scratch, 'final')), wanted: final });
      table.push({ engine: name, model, what: 'weights after ten steps', 'off course': short(off) });
      expect(off).toBeLessThan(bounds.offCourse);
    });
  });
});

it.each(GOLDEN_MODELS)('transformers in its own float32 agrees with the float64 run on the model %s', async (model) => {
  const { logits_NV, logitsFloat32_NV } = await readGolden(model);
  expect(logitsFloat32_NV.reduce((most, logit, i) => Math.max(most, Math.abs(logit - logits_NV[i])), 0)).toBeLessThan(1e-5);
});

const short = (value: number): string => value.toExponential(1);

type Weights = ReadonlyMap<string, ArrayLike<number>>;

/** |reached - wanted| / |wanted - start| over all weights. */
function offCourse({ start, reached, wanted }: { start: Weights; reached: Weights; wanted: ReadonlyMap<string, Float64Array> }): number {
  let off = 0;
  let way = 0;
  for (const [name, values] of wanted) {
    values.forEach((value, i) => {
      off += ((reached.get(name)?.[i] ?? NaN) - value) ** 2;
      way += (value - (start.get(name)?.[i] ?? NaN)) ** 2;
    });
  }
  return Math.sqrt(off / way);
}

/** The engine's own where it shows them, else those it exports, rounded to bf16. */
async function weightsOf(engine: TestedEngine, scratch: string): Promise<Weights> {
  if (engine.readWeights) return engine.readWeights();
  await engine.exportWeights(scratch);
  return storedWeights(scratch);
}

async function storedWeights(dir: string): Promise<Weights> {
  const directory = await ModelDirectory.open(dir);
  const weights = new Map<string, Float32Array>();
  for (const name of directory.names) weights.set(name, toFloat32(await directory.tensor(name)));
  await directory.close();
  return weights;
}

function logSoftmax(logits_V: Float64Array): Float64Array {
  const logSum = Math.log(logits_V.reduce((sum, z) => sum + Math.exp(z), 0));
  return logits_V.map((z) => z - logSum);
}

import type { Engine } from '../../engine/engine.js';
import { readModelConfig, type ModelConfig } from '../../model-files/config.js';
import type { PackedBatch } from '../../tokens/batch.js';
import type { Figure } from './figure.js';
import { median } from './median.js';

const REPEATS = 5;
const SEQUENCES = 16;
const LENGTH = 128;
const SUPPORT = 65;

/** A whole step (forward, backward, AdamW) of 16 sequences of 128 tokens, loss on the second half, against the time its products alone would take at `productRate`. */
export async function measureTrainStep(engine: Engine, modelDir: string, productRate: number): Promise<Figure> {
  const config = await readModelConfig(modelDir);
  const batch = distillBatch(config.vocabSize);
  const seconds: number[] = [];
  for (let repeat = 0; repeat <= REPEATS; repeat++) {
    const begin = performance.now();
    await engine.forwardBackward(batch, { kind: 'forward_kl', truncation: 'tail_bucket' }, batch.rows_R.length);
    await engine.optimStep({ learningRate: 1e-6, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0, clip: 1 });
    if (repeat > 0) seconds.push((performance.now() - begin) / 1000);
  }
  const tokens = batch.tokens_N.length;
  const value = tokens / median(seconds);
  const limit = (tokens * productRate * 1e9) / stepFlops(config, batch);
  return { name: 'train step', shape: `${SEQUENCES}x${LENGTH} tokens, half with loss`, value, unit: 'tok/s', limit, share: value / limit };
}

/** Multiply-adds of forward and both backward products, counted twice: layers on every token, head on rows with loss, causal attention (performance reference 4.4 a). */
function stepFlops(config: ModelConfig, batch: PackedBatch): number {
  const attention = config.hiddenSize * config.headDim * (2 * config.heads + 2 * config.kvHeads);
  const layer = attention + 3 * config.hiddenSize * config.intermediateSize;
  const tokens = batch.tokens_N.length;
  const products = 6 * tokens * config.layers * layer + 6 * batch.rows_R.length * config.vocabSize * config.hiddenSize;
  return products + 6 * tokens * config.layers * LENGTH * config.heads * config.headDim;
}

function distillBatch(vocabSize: number): PackedBatch {
  const rows = Array.from({ length: SEQUENCES }, (_, s) => Array.from({ length: LENGTH / 2 }, (_, row) => s * LENGTH + LENGTH / 2 - 1 + row)).flat();
  const id = (n: number): number => (n * 7919) % vocabSize;
  return {
    tokens_N: Int32Array.from({ length: SEQUENCES * LENGTH }, (_, n) => id(n)),
    cuSeqlens_S1: Int32Array.from({ length: SEQUENCES + 1 }, (_, s) => s * LENGTH),
    rows_R: Int32Array.from(rows),
    weights_R: new Float32Array(rows.length).fill(1),
    labels_R: Int32Array.from(rows, (row) => id(row + 1)),
    targets: {
      offsets_R1: Int32Array.from({ length: rows.length + 1 }, (_, r) => r * SUPPORT),
      ids_E: Int32Array.from({ length: rows.length * SUPPORT }, (_, e) => (id(Math.floor(e / SUPPORT)) + (e % SUPPORT)) % vocabSize),
      logProbs_E: new Float32Array(rows.length * SUPPORT).fill(Math.log(0.9 / SUPPORT)),
      tail_R: new Float32Array(rows.length).fill(0.1),
    },
  };
}

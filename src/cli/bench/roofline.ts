import type { ModelConfig } from '../../model-files/config.js';
import { multipliedWeights } from './step-products.js';

/** What one part of a step computes, and the best rate that was seen for it, FLOP/s. */
export interface RatedProduct {
  readonly flops: number;
  readonly rate: number;
}

/** Least seconds of a training step: each product at its own best rate, attention at the best of those rates (performance reference 4.4 a). */
export function trainingSeconds(products: readonly RatedProduct[], attentionFlops: number): number {
  const best = Math.max(...products.map(({ rate }) => rate));
  return products.reduce((sum, { flops, rate }) => sum + flops / rate, 0) + attentionFlops / best;
}

/** Rates of this machine: memory read, bytes/s; bf16 products, FLOP/s. */
export interface MachineRates {
  readonly readRate: number;
  readonly productRate: number;
}

/** What stands in the caches while a step runs. */
export interface DecodeLoad {
  readonly batch: number;
  /** Tokens that each sequence attends to. */
  readonly context: number;
}

/** Least seconds of a decode step: every weight and every cached key and value is read once, in bf16, or every product is done, whichever takes longer (4.4 b). */
export function decodeSeconds(config: ModelConfig, { batch, context }: DecodeLoad, { readRate, productRate }: MachineRates): number {
  const { blocks, head } = multipliedWeights(config);
  const cacheBytes = batch * context * 4 * config.layers * config.kvHeads * config.headDim;
  return Math.max((2 * (blocks + head) + cacheBytes) / readRate, (2 * batch * (blocks + head)) / productRate);
}

/** The nth root of the product of n numbers > 0. */
export function geometricMean(values: readonly number[]): number {
  return Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);
}

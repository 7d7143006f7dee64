import type { Probes, ProbedProduct } from '../../../kernels/bench/probes.js';
import { productFlops, type Product, type StepProduct } from './step-products.js';
import type { RatedProduct } from './roofline.js';

export type Packing = 'plain' | 'packed';

const LEAST_CALLS = 2;
const MOST_CALLS = 8;
const LEAST_SECONDS = 0.2;

/** Operands and primitive of oneDNN for a product; to be freed. */
export function createProduct(probes: Probes, { m, n, k, isATransposed, isBTransposed, isFloat32Output, accumulates }: Product, packing: Packing): ProbedProduct {
  return probes.createProduct(m, n, k, isATransposed, isBTransposed, isFloat32Output, accumulates, packing === 'packed');
}

/** FLOP/s of oneDNN on a product: the best of a few calls, with nothing else at work. */
export function bestRate(probes: Probes, product: Product, packing: Packing): number {
  const handle = createProduct(probes, product, packing);
  let best = Infinity;
  let total = 0;
  for (let call = 0; call < LEAST_CALLS || (call < MOST_CALLS && total < LEAST_SECONDS); call++) {
    const seconds = probes.runProduct(handle);
    best = Math.min(best, seconds);
    total += seconds;
  }
  probes.freeProduct(handle);
  return productFlops(product) / best;
}

/** Each product of a step with the better rate of plain and packed. */
export function rateProducts(probes: Probes, products: readonly StepProduct[]): RatedProduct[] {
  return products.map(({ product, flops }) => ({ flops, rate: Math.max(bestRate(probes, product, 'plain'), bestRate(probes, product, 'packed')) }));
}

/** The better rate of each product of two passes over the same products. */
export function betterRates(before: readonly RatedProduct[], after: readonly RatedProduct[]): RatedProduct[] {
  return before.map(({ flops, rate }, index) => ({ flops, rate: Math.max(rate, after[index].rate) }));
}

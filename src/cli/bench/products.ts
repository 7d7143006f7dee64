import { loadKernels, type Kernels } from '../../../kernels/binding/kernels.js';
import type { Figure } from './figure.js';
import { median } from './median.js';

const REPEATS = 7;
/** Rows x in x out of a training step of SmolLM2-135M: attention in, feed-forward in and out. */
const SHAPES: readonly (readonly [rows: number, inWidth: number, outWidth: number])[] = [
  [2048, 576, 960],
  [2048, 576, 3072],
  [2048, 1536, 576],
];

/** The bf16 products of a training step on their own, operands in cache as a repeated call leaves them; the best of them is the machine's limit for the step. */
export function measureProducts(threads: number): Figure[] {
  const kernels = loadKernels();
  kernels.setThreads(threads);
  const measured = SHAPES.map((shape) => ({ shape: `${shape.join('x')} bf16`, value: productRate(kernels, shape) }));
  const limit = Math.max(...measured.map(({ value }) => value));
  return measured.map(({ shape, value }) => ({ name: 'linear forward', shape, value, unit: 'GFLOP/s', limit, share: value / limit }));
}

function productRate(kernels: Kernels, [rows, inWidth, outWidth]: readonly [number, number, number]): number {
  const x = kernels.alloc('bf16', [rows, inWidth]);
  const weight = kernels.alloc('bf16', [outWidth, inWidth]);
  const out = kernels.alloc('bf16', [rows, outWidth]);
  const seconds: number[] = [];
  for (let repeat = 0; repeat <= REPEATS; repeat++) {
    const begin = performance.now();
    kernels.linearForward(x, weight, out);
    if (repeat > 0) seconds.push((performance.now() - begin) / 1000); // the first call compiles the primitive
  }
  for (const tensor of [x, weight, out]) kernels.free(tensor);
  return (2 * rows * inWidth * outWidth) / median(seconds) / 1e9;
}

import { expect, it } from 'vitest';
import { SHAPES, type ShapeName } from './shapes.js';
import { attentionFlops, blockLinears, headLinear, linearProducts, multipliedWeights, productFlops, stepProducts } from './step-products.js';

it('knows the weights that are multiplied', () => {
  // SmolLM2-135M, a block: q|k|v 960 x 576, out 576 x 576, gate|up 3072 x 576, down 576 x 1536.
  expect(multipliedWeights(SHAPES['smollm2-135m'])).toEqual({ blocks: 30 * (552_960 + 331_776 + 1_769_472 + 884_736), head: 49_152 * 576 });
  expect(blockLinears(SHAPES['qwen3-0.6b']).map(({ outWidth, inWidth }) => [outWidth, inWidth])).toEqual([[4096, 1024], [1024, 2048], [6144, 1024], [1024, 3072]]);
});

it('cuts a linear layer into its three products as the kernels call them', () => {
  const [forward, backwardInput, backwardWeight] = linearProducts({ outWidth: 5, inWidth: 3, isFloat32Output: true }, 7);
  expect(forward).toEqual({ m: 7, n: 5, k: 3, isATransposed: false, isBTransposed: true, isFloat32Output: true, accumulates: false });
  expect(backwardInput).toEqual({ m: 7, n: 3, k: 5, isATransposed: false, isBTransposed: false, isFloat32Output: false, accumulates: false });
  expect(backwardWeight).toEqual({ m: 5, n: 3, k: 7, isATransposed: true, isBTransposed: false, isFloat32Output: true, accumulates: true });
  expect([forward, backwardInput, backwardWeight].map(productFlops)).toEqual([210, 210, 210]);
  expect(headLinear(SHAPES['smollm2-135m'])).toMatchObject({ outWidth: 49152, inWidth: 576, isFloat32Output: true });
});

it.each<[ShapeName, number]>([['smollm2-135m', 0.86], ['smollm2-360m', 2.26], ['qwen3-0.6b', 3.75]])("does the performance reference's GFLOPs a token at s = 512 for %s", (name, gigaflops) => {
  const config = SHAPES[name];
  const tokens = 4096;
  const products = stepProducts(config, { tokens, rows: tokens }).reduce((sum, { flops }) => sum + flops, 0);
  expect((products + attentionFlops(config, new Array<number>(8).fill(512))) / tokens / 1e9).toBeCloseTo(gigaflops, 2);
});

it('counts the head on rows with loss only, and attention by the squares of lengths', () => {
  const config = { ...SHAPES['smollm2-135m'], layers: 1, hiddenSize: 4, intermediateSize: 8, heads: 2, kvHeads: 1, headDim: 2, vocabSize: 16 };
  const flops = (rows: number): number => stepProducts(config, { tokens: 10, rows }).reduce((sum, each) => sum + each.flops, 0);
  expect(flops(10) - flops(4)).toBe(6 * 6 * 16 * 4);
  expect(attentionFlops(config, [3, 5])).toBe(6 * 2 * 2 * (9 + 25));
});

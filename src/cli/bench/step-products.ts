import type { ModelConfig } from '../../model-files/config.js';

/** C[m,n] (+)= A[m,k] B[k,n] as the engine calls it: operands stored as their transposes where it says so, float32 sums either written or added to what is there. */
export interface Product {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly isATransposed: boolean;
  readonly isBTransposed: boolean;
  readonly isFloat32Output: boolean;
  readonly accumulates: boolean;
}

/** A linear layer's weight [out, in]; what it adds to the residual stream leaves it in float32. */
export interface LinearShape {
  readonly name: 'qkv' | 'out' | 'gate_up' | 'down' | 'head';
  readonly outWidth: number;
  readonly inWidth: number;
  readonly isFloat32Output: boolean;
}

/** The four linear layers of a block. */
export function blockLinears({ hiddenSize, intermediateSize, heads, kvHeads, headDim }: ModelConfig): LinearShape[] {
  return [
    { name: 'qkv', outWidth: (heads + 2 * kvHeads) * headDim, inWidth: hiddenSize, isFloat32Output: false },
    { name: 'out', outWidth: hiddenSize, inWidth: heads * headDim, isFloat32Output: true },
    { name: 'gate_up', outWidth: 2 * intermediateSize, inWidth: hiddenSize, isFloat32Output: false },
    { name: 'down', outWidth: hiddenSize, inWidth: intermediateSize, isFloat32Output: true },
  ];
}

/** The language-model head. */
export function headLinear({ vocabSize, hiddenSize }: ModelConfig): LinearShape {
  return { name: 'head', outWidth: vocabSize, inWidth: hiddenSize, isFloat32Output: true };
}

/** Forward, gradient of the input, gradient of the weight, over `rows` rows. */
export function linearProducts({ outWidth, inWidth, isFloat32Output }: Omit<LinearShape, 'name'>, rows: number): readonly [Product, Product, Product] {
  const plain = { isATransposed: false, isBTransposed: false, accumulates: false };
  return [
    { ...plain, m: rows, n: outWidth, k: inWidth, isBTransposed: true, isFloat32Output },
    { ...plain, m: rows, n: inWidth, k: outWidth, isFloat32Output: false },
    { m: outWidth, n: inWidth, k: rows, isATransposed: true, isBTransposed: false, isFloat32Output: true, accumulates: true },
  ];
}

/** Multiplications and additions. */
export function productFlops({ m, n, k }: Pick<Product, 'm' | 'n' | 'k'>): number {
  return 2 * m * n * k;
}

/** A kind of product of a step, and the FLOPs that all of its kind do in one step. */
export interface StepProduct {
  readonly product: Product;
  readonly flops: number;
}

/** Logits of a whole step need not exist; the head's rate is measured on at most this many rows. */
const MOST_HEAD_ROWS = 2048;

/** The products of a training step of `tokens` tokens, `rows` of them with loss: four linear layers a block on every token, the head on rows with loss. */
export function stepProducts(config: ModelConfig, { tokens, rows }: { readonly tokens: number; readonly rows: number }): StepProduct[] {
  const blocks = blockLinears(config).flatMap((linear) => linearProducts(linear, tokens).map((product) => ({ product, flops: config.layers * productFlops(product) })));
  const head = linearProducts(headLinear(config), Math.min(rows, MOST_HEAD_ROWS));
  return [...blocks, ...head.map((product) => ({ product, flops: 2 * rows * config.vocabSize * config.hiddenSize }))];
}

/**
 * FLOPs of causal attention in a training step: two products forward, four backward, half of each square: 6 s^2 Hq K a sequence and layer (performance reference 4.4 a).
 * A backward that recomputes the scores does a seventh, which counts as its own cost.
 */
export function attentionFlops({ layers, heads, headDim }: Pick<ModelConfig, 'layers' | 'heads' | 'headDim'>, lengths: readonly number[]): number {
  return 6 * layers * heads * headDim * lengths.reduce((sum, length) => sum + length ** 2, 0);
}

/** Multiplied weights: of all blocks, and of the head. */
export function multipliedWeights(config: ModelConfig): { readonly blocks: number; readonly head: number } {
  const block = blockLinears(config).reduce((sum, { outWidth, inWidth }) => sum + outWidth * inWidth, 0);
  return { blocks: config.layers * block, head: config.vocabSize * config.hiddenSize };
}

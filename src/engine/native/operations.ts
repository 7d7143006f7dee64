import { NO_TENSOR, type DType, type Kernels, type Tensor } from '../../../kernels/binding/kernels.js';
import type { Arena } from './arena.js';
import type { PackedWeights } from './packed-weights.js';
import type { Parameter } from './parameters.js';
import type { Tape } from './tape.js';

/**
 * A tensor on its way through the network. Every activation has exactly one consumer; its backward sets `grad`, and the producer's backward
 * uses both and gives both back.
 */
export interface Activation {
  /** `NO_TENSOR` once nobody needs it. */
  value: Tensor;
  grad: Tensor;
  /** Makes `value` again, bit for bit, from what its producer keeps: the consumer gives the value back until its own backward asks for it. */
  readonly remake?: () => Tensor;
}

/** What finishes the rows of the q|k|v product. */
export interface RopeInputs {
  readonly positions_N: Tensor;
  readonly invFreq: Tensor;
  readonly geometry: HeadGeometry;
  readonly rows: number;
  /** [C]; absent where the architecture has none. */
  readonly bias?: Parameter;
  readonly norms?: HeadNorms;
}

/** Weights of the norms of each q and each k head, [K] each. */
export interface HeadNorms {
  readonly q: Parameter;
  readonly k: Parameter;
  readonly eps: number;
}

/** What attention needs to know of the model. */
export interface HeadGeometry {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
}

/** One layer's cache: pages, bf16 [P, PAGE_POSITIONS Hkv K] each. */
export interface LayerCache {
  readonly k: Tensor;
  readonly v: Tensor;
}

/** Where decode rows stand, and which pages their slots have: i32 [N], [N] and [B, M]. */
export interface CachePlace {
  readonly slots_N: Tensor;
  readonly positions_N: Tensor;
  readonly pages_BM: Tensor;
}

/** What becomes of a pass. */
export interface PassMode {
  /** Collects the way back; without it there is none. */
  readonly tape?: Tape;
  readonly packed?: PackedWeights;
  /** What layers compute on the way forward is computed again on the way back instead of kept; without a tape nothing is kept anyway. */
  readonly recompute?: boolean;
}

/** The part of a layer behind its first norm, up to its last product. */
export interface LayerBody {
  /** Turns the normed rows, bf16 [N, D], into the last product's input by the operations that it is given, and leaves its sum in the stream. */
  readonly inner: (ops: Operations, x: Activation) => Activation;
  readonly weight: Parameter;
  readonly rows: number;
}

/**
 * The operations of a decoder over N rows of width D. With a tape each also pushes its backward; without one, inputs are given back as soon as
 * they are used, so that an evaluation needs the memory of one layer.
 */
export class Operations {
  private readonly tape?: Tape;
  private readonly packed?: PackedWeights;
  /** The operations that compute a layer for the first time and again, where layers are recomputed. */
  private readonly recomputing?: { readonly first: Operations; readonly again: Operations };
  /** Sums of the stream take the place of what is added, and what was summed stays: somebody comes back for it. */
  private readonly keepsSums: boolean;

  constructor(
    private readonly kernels: Kernels,
    private readonly arena: Arena,
    { tape, packed, recompute = false, keepsSums = tape !== undefined }: PassMode & { readonly keepsSums?: boolean } = {},
  ) {
    this.tape = tape;
    this.packed = packed;
    this.keepsSums = keepsSums;
    if (recompute && tape) this.recomputing = { first: new Operations(kernels, arena, { keepsSums: true }), again: new Operations(kernels, arena, { tape }) };
  }

  /** An i32 input of the pass. */
  input(values: Int32Array): Tensor {
    const tensor = this.arena.take('i32', [values.length]);
    this.kernels.write(tensor, values);
    return tensor;
  }

  /** The start of the residual stream: f32 [N, D]. */
  embedding(tokens_N: Tensor, table: Parameter, rows: number): Activation {
    const stream = this.fresh('f32', [rows, table.shape[1]]);
    this.kernels.embeddingForward(tokens_N, table.weight, stream.value);
    if (this.tape) {
      stream.grad = this.arena.take('f32', [rows, table.shape[1]]);
      this.kernels.zero(stream.grad);
      this.tape.push(() => {
        this.kernels.embeddingBackward(tokens_N, stream.grad, table.grad);
        this.arena.give(stream.grad);
      });
    }
    return stream;
  }

  /** Adds `delta` (a sublayer's output, f32 [N, D]) to the stream and normalises the sum: bf16 [N, D]. The gradient of `delta` is bf16. */
  addAndNorm(stream: Activation, delta: Activation | undefined, { weight, eps, rows }: { weight: Parameter; eps: number; rows: number }): Activation {
    const width = weight.shape[0];
    const rstd_N = this.arena.take('f32', [rows]);
    let addend = delta?.value ?? NO_TENSOR;
    if (this.keepsSums && delta) {
      // The norm before still needs its own sum when gradients come back, so this one takes the place of what is added.
      addend = stream.value;
      stream.value = delta.value;
      delta.value = NO_TENSOR;
    }
    const residual = stream.value;
    const normOf = (added: Tensor): Tensor => {
      const normed = this.arena.take('bf16', [rows, width]);
      this.kernels.rmsNormForward(residual, added, weight.weight, eps, normed, rstd_N);
      return normed;
    };
    const out: Activation = { value: normOf(addend), grad: NO_TENSOR, remake: this.recomputing && (() => normOf(NO_TENSOR)) };
    if (this.recomputing && delta) this.arena.give(addend); // the sum within the layer before, which will be made again
    if (!this.tape && delta && !this.keepsSums) this.release(delta);
    if (!this.tape) this.arena.give(rstd_N);
    this.tape?.push(() => {
      if (delta) delta.grad = this.arena.take('bf16', [rows, width]);
      this.kernels.rmsNormBackward(out.grad, residual, weight.weight, rstd_N, stream.grad, weight.grad, delta?.grad ?? NO_TENSOR);
      this.finish(out);
      this.arena.give(residual);
      this.arena.give(rstd_N);
    });
    return out;
  }

  /**
   * What a layer adds to the stream behind its first norm `x`: f32 [N, D]. Where layers are recomputed, nothing else of it outlives the call: the way back makes `x`
   * again from the sum that the norm keeps, goes through the layer up to its last product once more, and then back (Chen et al. 2016, section 3; the same bits).
   */
  layer(stream: Activation, x: Activation, { inner, weight, rows }: LayerBody): Activation {
    if (!this.recomputing) return this.linear(inner(this, x), weight, { rows, dtype: 'f32' });
    const { first, again } = this.recomputing;
    const begin = stream.value;
    const { remake } = x;
    if (!remake) throw new Error('a layer that is recomputed begins with a norm of the same operations');
    const out = first.linear(inner(first, x), weight, { rows, dtype: 'f32' });
    this.tape?.push(() => {
      stream.value = begin;
      x.value = remake();
      again.goBack(inner(again, x), weight, out, rows);
    });
    return out;
  }

  /** x . weight^T: [N, O] of `dtype`, whose gradient is bf16 either way. */
  linear(x: Activation, weight: Parameter, { rows, dtype }: { rows: number; dtype: 'bf16' | 'f32' }): Activation {
    const out = this.fresh(dtype, [rows, weight.shape[0]]);
    const packed = this.packed?.of(weight);
    if (packed === undefined) this.kernels.linearForward(x.value, weight.weight, out.value);
    else this.kernels.linearPacked(x.value, packed, out.value);
    if (!this.tape) this.release(x);
    this.goBack(x, weight, out, rows);
    return out;
  }

  /**
   * Adds the bias, normalises the q and k heads and rotates them: in place, unless the norms' backward will want the rows as they came. Then those are kept and the
   * finished rows are made again where attention's backward needs them: another pass over one layer's rows, for a tensor a layer less in memory.
   */
  rope(qkv: Activation, inputs: RopeInputs): Activation {
    const { rows, geometry, bias, norms } = inputs;
    const keepsRows = this.tape !== undefined && norms !== undefined;
    const finished = (): Tensor => {
      const out = keepsRows ? this.arena.take('bf16', [rows, qkvColumns(geometry)]) : qkv.value;
      this.kernels.ropeForward(qkv.value, ...this.ropeWeights(inputs), out);
      return out;
    };
    const out: Activation = { value: finished(), grad: NO_TENSOR, remake: keepsRows ? finished : undefined };
    if (!keepsRows) qkv.value = NO_TENSOR;
    this.tape?.push(() => {
      this.kernels.ropeBackward(out.grad, qkv.value, ...this.ropeWeights(inputs), bias?.grad ?? NO_TENSOR, norms?.q.grad ?? NO_TENSOR, norms?.k.grad ?? NO_TENSOR);
      qkv.grad = out.grad;
      if (out.value !== NO_TENSOR) this.arena.give(out.value);
    });
    return out;
  }

  /** Causal attention inside each packed sequence: bf16 [N, Hq K]. */
  attention(qkv: Activation, { cuSeqlens_S1, geometry, rows }: { cuSeqlens_S1: Tensor; geometry: HeadGeometry; rows: number }): Activation {
    const { heads, kvHeads, headDim } = geometry;
    const out = this.fresh('bf16', [rows, heads * headDim]);
    const lse = this.arena.take('f32', [rows, heads]);
    this.kernels.attentionForward(qkv.value, cuSeqlens_S1, heads, kvHeads, out.value, lse);
    if (!this.tape) {
      this.arena.give(lse);
      this.release(qkv);
    }
    if (this.tape && qkv.remake) this.release(qkv);
    this.tape?.push(() => {
      if (qkv.remake) qkv.value = qkv.remake();
      qkv.grad = this.arena.take('bf16', [rows, qkvColumns(geometry)]);
      this.kernels.attentionBackward(out.grad, qkv.value, out.value, lse, cuSeqlens_S1, heads, kvHeads, qkv.grad);
      this.finish(out);
      this.arena.give(lse);
    });
    return out;
  }

  /** Remembers the keys and values of these rows for later decode steps; has no gradient. */
  cache(qkv: Activation, cache: LayerCache, { place, kvHeads }: { place: CachePlace; kvHeads: number }): void {
    this.kernels.kvWrite(qkv.value, place.slots_N, place.positions_N, place.pages_BM, kvHeads, cache.k, cache.v);
  }

  /** One query row a slot over the cached rows, its own included: bf16 [N, Hq K]; has no gradient. */
  attentionDecode(qkv: Activation, cache: LayerCache, { place, geometry, rows }: { place: CachePlace; geometry: HeadGeometry; rows: number }): Activation {
    const { heads, kvHeads, headDim } = geometry;
    const out = this.fresh('bf16', [rows, heads * headDim]);
    this.kernels.attentionDecode(qkv.value, place.slots_N, place.positions_N, place.pages_BM, heads, kvHeads, cache.k, cache.v, out.value);
    this.release(qkv);
    return out;
  }

  /** bf16 [N, F] = silu(gate) * up of the halves of x . weight^T, which go through memory only where somebody will want them again. */
  gatedUnit(x: Activation, weight: Parameter, rows: number): Activation {
    const width = weight.shape[0] / 2;
    const packed = this.tape ? undefined : this.packed?.gatedOf(weight);
    if (packed === undefined) return this.swiglu(this.linear(x, weight, { rows, dtype: 'bf16' }), { rows, width });
    const out = this.fresh('bf16', [rows, width]);
    this.kernels.gatedLinear(x.value, packed, out.value);
    this.release(x);
    return out;
  }

  /** Copies finished q|k|v rows to every token they stand for: bf16 [N, C], made again where attention's backward needs them. */
  spread(qkv: Activation, rowOf_N: Tensor, { rows, picked, geometry }: { rows: number; picked: number; geometry: HeadGeometry }): Activation {
    const columns = qkvColumns(geometry);
    const copied = (): Tensor => {
      const source = qkv.remake?.() ?? qkv.value;
      const copies = this.arena.take('bf16', [picked, columns]);
      this.kernels.gatherRows(source, rowOf_N, copies);
      if (source !== qkv.value) this.arena.give(source);
      return copies;
    };
    const out: Activation = { value: this.arena.take('bf16', [picked, columns]), grad: NO_TENSOR, remake: copied };
    this.kernels.gatherRows(qkv.value, rowOf_N, out.value);
    if (!this.tape || qkv.remake) this.release(qkv);
    this.tape?.push(() => {
      qkv.grad = this.arena.take('bf16', [rows, columns]);
      this.kernels.scatterRows(out.grad, rowOf_N, qkv.grad);
      this.finish(out);
    });
    return out;
  }

  /** Picks rows, some perhaps more than once: bf16 [R, D]. */
  gather(x: Activation, rows_R: Tensor, shape: { rows: number; picked: number; width: number }): Activation {
    const out = this.fresh('bf16', [shape.picked, shape.width]);
    this.kernels.gatherRows(x.value, rows_R, out.value);
    if (!this.tape) this.release(x);
    this.tape?.push(() => {
      x.grad = this.arena.take('bf16', [shape.rows, shape.width]);
      this.kernels.scatterRows(out.grad, rows_R, x.grad);
      this.finish(out);
    });
    return out;
  }

  // Pushes the way back through out = x . weight^T.
  private goBack(x: Activation, weight: Parameter, out: Activation, rows: number): void {
    this.tape?.push(() => {
      x.grad = this.arena.take('bf16', [rows, weight.shape[1]]);
      this.kernels.linearBackwardInput(out.grad, weight.weight, x.grad);
      this.kernels.linearBackwardWeight(out.grad, x.value, weight.grad);
      this.finish(out);
    });
  }

  private swiglu(gateUp: Activation, shape: { rows: number; width: number }): Activation {
    const out = this.fresh('bf16', [shape.rows, shape.width]);
    this.kernels.swigluForward(gateUp.value, out.value);
    if (!this.tape) this.release(gateUp);
    this.tape?.push(() => {
      this.kernels.swigluBackward(out.grad, gateUp.value, gateUp.value);
      gateUp.grad = gateUp.value;
      gateUp.value = NO_TENSOR;
      this.finish(out);
    });
    return out;
  }

  private ropeWeights({ positions_N, invFreq, geometry: { heads, kvHeads }, bias, norms }: RopeInputs) {
    return [positions_N, invFreq, bias?.weight ?? NO_TENSOR, norms?.q.weight ?? NO_TENSOR, norms?.k.weight ?? NO_TENSOR, norms?.eps ?? 0, heads, kvHeads] as const;
  }

  private fresh(dtype: DType, shape: readonly number[]): Activation {
    return { value: this.arena.take(dtype, shape), grad: NO_TENSOR };
  }

  private release(activation: Activation): void {
    this.arena.give(activation.value);
    activation.value = NO_TENSOR;
  }

  private finish(activation: Activation): void {
    this.arena.give(activation.grad);
    if (activation.value !== NO_TENSOR) this.arena.give(activation.value);
  }
}

/** Columns C of a fused q|k|v row. */
export function qkvColumns({ heads, kvHeads, headDim }: HeadGeometry): number {
  return (heads + 2 * kvHeads) * headDim;
}

import type { DType, Kernels, Tensor } from '../../../kernels/binding/kernels.js';

/** Bytes of one element. */
export const ELEMENT_BYTES: Readonly<Record<DType, number>> = { f32: 4, bf16: 2, i32: 4 };

const DTYPES = ['f32', 'bf16', 'i32'] as const;
const ALIGNMENT_BYTES = 64;
const NOTHING = { f32: 0, bf16: 0, i32: 0 } as const;

/** Elements of each type. */
export type Elements = Readonly<Record<DType, number>>;

interface Block {
  readonly base: Tensor;
  readonly elements: number;
  used: number;
}

/** @returns for each type the larger of two counts. */
export function largerOf(one: Elements, other: Elements): Elements {
  return { f32: Math.max(one.f32, other.f32), bf16: Math.max(one.bf16, other.bf16), i32: Math.max(one.i32, other.i32) };
}

/** Bytes of elements of each type. */
export function bytesOf(counts: Elements): number {
  return DTYPES.reduce((sum, dtype) => sum + counts[dtype] * ELEMENT_BYTES[dtype], 0);
}

/**
 * Memory for the tensors of one pass. Taking moves a cursor; tensors given back are handed out again for the same shape; `reset` forgets all of
 * them at once. Addresses depend on the plan and the order of calls alone, and a pass no larger than its plan allocates nothing.
 */
export class Arena {
  private readonly blocks: Record<DType, Block[]> = { f32: [], bf16: [], i32: [] };
  private readonly taken: Record<DType, number> = { ...NOTHING };
  private readonly mostTaken: Record<DType, number> = { ...NOTHING };
  private readonly spare = new Map<string, Tensor[]>();
  private readonly shapeOf = new Map<Tensor, string>();

  constructor(private readonly kernels: Kernels) {}

  /** @returns a tensor with unspecified content, valid until `reset`. */
  take(dtype: DType, shape: readonly number[]): Tensor {
    const key = `${dtype}[${shape.join(',')}]`;
    const tensor = this.spare.get(key)?.pop() ?? this.cut(dtype, shape);
    this.shapeOf.set(tensor, key);
    return tensor;
  }

  /** Gives one tensor of this pass back. @throws Error when it is not out. */
  give(tensor: Tensor): void {
    const key = this.shapeOf.get(tensor);
    if (key === undefined) throw new Error(`tensor ${tensor} was not taken from this arena, or was given back before`);
    this.shapeOf.delete(tensor);
    const spare = this.spare.get(key);
    if (spare) spare.push(tensor);
    else this.spare.set(key, [tensor]);
  }

  /** Most elements that any pass so far has taken: the plan of a pass that would fit without one left over. */
  get peak(): Elements {
    return { ...this.mostTaken };
  }

  /** Forgets every tensor and makes sure that a pass of this plan finds room in one block a type; without a plan, what is held stays as it is. */
  reset(plan: Elements = NOTHING): void {
    for (const tensor of this.shapeOf.keys()) this.kernels.free(tensor);
    for (const tensors of this.spare.values()) for (const tensor of tensors) this.kernels.free(tensor);
    this.shapeOf.clear();
    this.spare.clear();
    for (const dtype of DTYPES) this.reserve(dtype, plan[dtype]);
  }

  /** Bytes that `reset` would have to add to what is held. */
  missingBytes(plan: Elements): number {
    let bytes = 0;
    for (const dtype of DTYPES) bytes += Math.max(0, plan[dtype] - this.elements(dtype)) * ELEMENT_BYTES[dtype];
    return bytes;
  }

  /** Frees everything; the arena may be used again after a `reset`. */
  free(): void {
    this.reset();
    for (const dtype of DTYPES) this.freeBlocks(dtype);
  }

  private cut(dtype: DType, shape: readonly number[]): Tensor {
    const step = ALIGNMENT_BYTES / ELEMENT_BYTES[dtype];
    const elements = Math.ceil(shape.reduce((product, size) => product * size, 1) / step) * step;
    const block = this.blocks[dtype].find(({ used, elements: size }) => used + elements <= size) ?? this.grow(dtype, elements);
    const tensor = this.kernels.view(block.base, block.used, shape);
    block.used += elements;
    this.taken[dtype] += elements;
    this.mostTaken[dtype] = Math.max(this.mostTaken[dtype], this.taken[dtype]);
    return tensor;
  }

  private reserve(dtype: DType, wanted: number): void {
    const held = this.elements(dtype);
    if (this.blocks[dtype].length > 1 || held < wanted) {
      this.freeBlocks(dtype);
      this.hold(dtype, Math.max(held, wanted));
    }
    for (const block of this.blocks[dtype]) block.used = 0;
    this.taken[dtype] = 0;
  }

  // A pass beyond its plan, or a rehearsal, which has none: doubling keeps the blocks few.
  private grow(dtype: DType, atLeast: number): Block {
    return this.hold(dtype, Math.max(atLeast, this.elements(dtype)));
  }

  private hold(dtype: DType, elements: number): Block {
    const block = { base: this.kernels.alloc(dtype, [elements]), elements, used: 0 };
    this.blocks[dtype].push(block);
    return block;
  }

  private freeBlocks(dtype: DType): void {
    for (const { base } of this.blocks[dtype]) this.kernels.free(base);
    this.blocks[dtype].length = 0;
  }

  private elements(dtype: DType): number {
    return this.blocks[dtype].reduce((sum, block) => sum + block.elements, 0);
  }
}

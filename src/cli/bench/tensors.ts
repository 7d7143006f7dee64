import type { DType, Kernels, Tensor } from '../../../kernels/binding/kernels.js';

/** Tensors of one measurement, freed together. */
export class Tensors {
  private readonly held: Tensor[] = [];
  private state = 1; // of Marsaglia's xorshift32

  constructor(private readonly kernels: Kernels) {}

  /** Uniform in [-1, 1). Zeros would let some CPUs clock higher. */
  random(dtype: 'bf16' | 'f32', shape: readonly number[]): Tensor {
    const elements = shape.reduce((product, size) => product * size, 1);
    const values = new Float32Array(elements);
    let { state } = this;
    for (let i = 0; i < elements; i++) {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      values[i] = state / 2 ** 31;
    }
    this.state = state;
    const wide = this.take('f32', shape);
    this.kernels.write(wide, values);
    if (dtype === 'f32') return wide;
    const narrow = this.take('bf16', shape);
    this.kernels.convert(wide, narrow);
    this.give(wide);
    return narrow;
  }

  /** Zeros, in memory that was touched. */
  zeros(dtype: DType, shape: readonly number[]): Tensor {
    const tensor = this.take(dtype, shape);
    this.kernels.zero(tensor);
    return tensor;
  }

  of(values: Int32Array | Float32Array): Tensor {
    const tensor = this.take(values instanceof Int32Array ? 'i32' : 'f32', [values.length]);
    this.kernels.write(tensor, values);
    return tensor;
  }

  free(): void {
    for (const tensor of this.held.splice(0)) this.kernels.free(tensor);
  }

  private take(dtype: DType, shape: readonly number[]): Tensor {
    const tensor = this.kernels.alloc(dtype, shape);
    this.held.push(tensor);
    return tensor;
  }

  private give(tensor: Tensor): void {
    this.held.splice(this.held.indexOf(tensor), 1);
    this.kernels.free(tensor);
  }
}

import type { DType, Kernels, Tensor } from '../../../kernels/binding/kernels.js';
import { bf16ToNumber, numberToBf16 } from './bf16.js';

type Values = ArrayLike<number>;

/** Native tensors of one test, made from plain numbers and read back as plain numbers. `dispose` frees every one. */
export class Tensors {
  private readonly live = new Map<Tensor, { readonly dtype: DType; readonly count: number }>();

  constructor(readonly kernels: Kernels) {}

  /** Filled with `values` (row-major), or with 0. */
  f32(shape: readonly number[], values?: Values): Tensor {
    return this.make('f32', shape, values);
  }

  /** As `f32`; every value is rounded to bf16 first. */
  bf16(shape: readonly number[], values?: Values): Tensor {
    return this.make('bf16', shape, values);
  }

  i32(shape: readonly number[], values?: Values): Tensor {
    return this.make('i32', shape, values);
  }

  /** What the tensor holds now. */
  values(tensor: Tensor): Float64Array {
    const raw = this.bits(tensor);
    return raw instanceof Uint16Array ? Float64Array.from(raw, bf16ToNumber) : Float64Array.from(raw);
  }

  /** What the tensor holds now, as stored: equal bits are equal bytes of this array. */
  bits(tensor: Tensor): Float32Array | Int32Array | Uint16Array {
    const known = this.live.get(tensor);
    if (!known) throw new Error(`tensor ${tensor} was not made here`);
    const target = emptyArray(known.dtype, known.count);
    this.kernels.read(tensor, target);
    return target;
  }

  dispose(): void {
    for (const tensor of this.live.keys()) this.kernels.free(tensor);
    this.live.clear();
  }

  private make(dtype: DType, shape: readonly number[], values?: Values): Tensor {
    const count = shape.reduce((product, extent) => product * extent, 1);
    const tensor = this.kernels.alloc(dtype, shape);
    this.live.set(tensor, { dtype, count });
    if (values) this.kernels.write(tensor, filledArray(dtype, count, values));
    return tensor;
  }
}

function emptyArray(dtype: DType, count: number): Float32Array | Int32Array | Uint16Array {
  if (dtype === 'bf16') return new Uint16Array(count);
  return dtype === 'i32' ? new Int32Array(count) : new Float32Array(count);
}

function filledArray(dtype: DType, count: number, values: Values): Float32Array | Int32Array | Uint16Array {
  const target = emptyArray(dtype, count);
  if (values.length !== count) throw new Error(`${values.length} values for ${count} elements`);
  for (let index = 0; index < count; index++) target[index] = dtype === 'bf16' ? numberToBf16(values[index]) : values[index];
  return target;
}

import { readFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import { afterEach, describe, expect, it } from 'vitest';
import { codeOf } from '../../test/support/kernels/check.js';
import { Tensors } from '../../test/support/kernels/tensors.js';
import { cpuFlags } from '../binding/choose-library.js';
import { loadKernels, NO_TENSOR, type DType, type Tensor } from '../binding/kernels.js';

const kernels = loadKernels();
const tensors = new Tensors(kernels);
afterEach(() => tensors.dispose());

describe('alloc and free', () => {
  it('counts the bytes of live tensors', () => {
    const before = kernels.allocatedBytes();
    const handles = [kernels.alloc('f32', [3, 5]), kernels.alloc('bf16', [2, 1, 2, 1]), kernels.alloc('i32', [7]), kernels.alloc('f32', [4, 0])];
    expect(kernels.allocatedBytes() - before).toBe(60 + 8 + 28);
    for (const handle of handles) kernels.free(handle);
    expect(kernels.allocatedBytes()).toBe(before);
  });

  it('gives zeroed memory, also where memory was used before', () => {
    for (let round = 0; round < 3; round++) {
      const tensor = kernels.alloc('f32', [1000]);
      const values = new Float32Array(1000);
      kernels.read(tensor, values);
      expect(values.every((value) => value === 0)).toBe(true);
      kernels.write(tensor, values.fill(5));
      kernels.free(tensor);
    }
  });

  it('refuses a handle after free, even when its place is taken again', () => {
    const old = kernels.alloc('f32', [4]);
    kernels.free(old);
    const taken = kernels.alloc('f32', [4]);
    expect(taken).not.toBe(old);
    expect(codeOf(() => kernels.zero(old))).toBe('kernels.bad_handle');
    expect(codeOf(() => kernels.free(old))).toBe('kernels.bad_handle');
    kernels.free(taken);
  });

  it.each([0, NO_TENSOR, 2 ** 40, -7, NaN, 1.5])('refuses the handle %d, which never was', (handle) => {
    expect(codeOf(() => kernels.free(handle as Tensor))).toBe('kernels.bad_handle');
  });

  it('refuses bad shapes and dtypes', () => {
    expect(codeOf(() => kernels.alloc('f32', []))).toBe('kernels.bad_shape');
    expect(codeOf(() => kernels.alloc('f32', [1, 1, 1, 1, 1]))).toBe('kernels.bad_shape');
    expect(codeOf(() => kernels.alloc('f32', [2, -1]))).toBe('kernels.bad_shape');
    expect(codeOf(() => kernels.alloc('f32', [2.5]))).toBe('kernels.bad_shape');
    expect(codeOf(() => kernels.alloc('f64' as DType, [2]))).toBe('kernels.bad_dtype');
  });

  it.each([[[2 ** 47]], [[2 ** 30, 2 ** 30, 2 ** 30]], [[2 ** 52, 2 ** 52]]])('answers out of memory for %j elements and stays usable', (shape) => {
    const before = kernels.allocatedBytes();
    expect(codeOf(() => kernels.alloc('f32', shape))).toBe('kernels.out_of_memory');
    expect(kernels.allocatedBytes()).toBe(before);
    kernels.free(kernels.alloc('f32', [2]));
  });
});

describe('alloc of more than the machine has', () => {
  it('answers out of memory instead of being killed later', () => {
    expect(codeOf(() => kernels.alloc('bf16', [Math.ceil(totalmem() / 2) + 1]))).toBe('kernels.out_of_memory');
  });
});

describe('view', () => {
  it('shares memory with its base, and a view of a view with both', () => {
    const base = tensors.f32([2, 6], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    const outer = kernels.view(base, 3, [2, 4]);
    const inner = kernels.view(outer, 2, [3]);
    kernels.write(inner, Float32Array.from([50, 60, 70]));
    const seen = new Float32Array(8);
    kernels.read(outer, seen);
    expect([...seen]).toEqual([3, 4, 50, 60, 70, 8, 9, 10]);
    expect([...tensors.values(base)]).toEqual([0, 1, 2, 3, 4, 50, 60, 70, 8, 9, 10, 11]);
    kernels.free(outer);
    kernels.free(inner);
  });

  it('keeps the memory of a freed base until it is freed itself', () => {
    const before = kernels.allocatedBytes();
    const base = kernels.alloc('i32', [8]);
    kernels.write(base, Int32Array.from([1, 2, 3, 4, 5, 6, 7, 8]));
    const view = kernels.view(base, 6, [2]);
    kernels.free(base);
    const seen = new Int32Array(2);
    kernels.read(view, seen);
    expect([...seen]).toEqual([7, 8]);
    expect(kernels.allocatedBytes() - before).toBe(32);
    kernels.free(view);
    expect(kernels.allocatedBytes()).toBe(before);
  });

  it('may be empty at the end and may not leave its base', () => {
    const base = tensors.f32([4]);
    kernels.free(kernels.view(base, 4, [0, 3]));
    expect(codeOf(() => kernels.view(base, 1, [4]))).toBe('kernels.bad_shape');
    expect(codeOf(() => kernels.view(base, 5, [0]))).toBe('kernels.bad_shape');
    expect(codeOf(() => kernels.view(base, -1, [1]))).toBe('kernels.bad_value');
    expect(codeOf(() => kernels.view(NO_TENSOR, 0, [1]))).toBe('kernels.bad_handle');
  });
});

describe('write and read', () => {
  it('refuse arrays of another type or length', () => {
    const tensor = tensors.bf16([3]);
    expect(codeOf(() => kernels.write(tensor, new Uint16Array(3)))).toBe('none');
    expect(codeOf(() => kernels.write(tensor, new Uint16Array(4)))).toBe('kernels.bad_shape');
    expect(codeOf(() => kernels.write(tensor, new Float32Array(3)))).toBe('kernels.bad_dtype');
    expect(codeOf(() => kernels.read(tensor, new Int32Array(3)))).toBe('kernels.bad_dtype');
    expect(codeOf(() => kernels.read(tensor, [1, 2, 3] as unknown as Uint16Array))).toBe('kernels.bad_dtype');
  });

  it('respect the window of a typed array', () => {
    const buffer = Float32Array.from([9, 1, 2, 9]);
    const tensor = tensors.f32([2]);
    kernels.write(tensor, buffer.subarray(1, 3));
    kernels.read(tensor, buffer.subarray(2, 4));
    expect([...buffer]).toEqual([9, 1, 1, 2]);
  });
});

describe('every call', () => {
  it('says which operation refused, what was wrong and what would be right', () => {
    const tensor = tensors.f32([2, 3]);
    expect(() => kernels.swigluForward(tensor, tensor)).toThrow('swigluForward: gateUp_N2F is f32; it must be bf16');
    expect(() => kernels.embeddingForward(tensors.i32([4]), tensors.bf16([5, 3]), tensor)).toThrow(
      'embeddingForward: out_ND has shape [2, 3]; axis 0 must be 4 as in tokens_N',
    );
  });

  it('refuses a wrong number of arguments', () => {
    const zero = kernels.zero as (...handles: Tensor[]) => void;
    expect(codeOf(() => zero())).toBe('kernels.bad_value');
    expect(codeOf(() => zero(NO_TENSOR, NO_TENSOR))).toBe('kernels.bad_value');
  });
});

describe('setThreads and buildInfo', () => {
  it('name what the bits depend on', () => {
    kernels.setThreads(3);
    expect(kernels.buildInfo()).toMatch(/^threads=3 library=(avx512|avx2) isa=\w+ compiler=\S+$/);
    kernels.setThreads(2);
    expect(kernels.buildInfo()).toMatch(/^threads=2 /);
  });

  it('uses the widest instructions that the CPU has and DNNL_MAX_CPU_ISA allows', () => {
    const flags = cpuFlags(readFileSync('/proc/cpuinfo', 'utf8'));
    const most = process.env['DNNL_MAX_CPU_ISA'];
    const widest = !flags.has('avx512_bf16') || most === 'AVX2' ? 'avx2' : !flags.has('amx_bf16') || most === 'AVX512_CORE_BF16' ? 'avx512_bf16' : 'amx_bf16';
    expect(kernels.buildInfo()).toContain(` library=${widest === 'avx2' ? 'avx2' : 'avx512'} isa=${widest} `);
  });

  it.each([0, -1, 1.5, 5000])('refuses %d threads', (threads) => {
    expect(codeOf(() => kernels.setThreads(threads))).toBe('kernels.bad_value');
  });
});

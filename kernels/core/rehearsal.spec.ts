import { afterEach, describe, expect, it } from 'vitest';
import { codeOf } from '../../test/support/kernels/check.js';
import { Tensors } from '../../test/support/kernels/tensors.js';
import { loadKernels, NO_TENSOR } from '../binding/kernels.js';

const kernels = loadKernels();
const { rehearsal } = kernels;
const tensors = new Tensors(kernels);
afterEach(() => tensors.dispose());

describe('a rehearsed operation', () => {
  it('has every name of the others', () => {
    expect(Object.keys(rehearsal)).toEqual(Object.keys(kernels).filter((name) => name !== 'rehearsal'));
  });

  it('computes nothing, and the next call that is not rehearsed does', () => {
    const values = new Float32Array(3);
    const tensor = tensors.f32([3], [1, 2, 3]);
    rehearsal.zero(tensor);
    kernels.read(tensor, values);
    expect([...values]).toEqual([1, 2, 3]);
    kernels.zero(tensor);
    kernels.read(tensor, values);
    expect([...values]).toEqual([0, 0, 0]);
  });

  it('refuses what the operation refuses', () => {
    expect(codeOf(() => rehearsal.embeddingForward(tensors.i32([1], [9]), tensors.bf16([4, 2]), tensors.f32([1, 2])))).toBe('kernels.bad_value');
    expect(codeOf(() => rehearsal.zero(NO_TENSOR))).toBe('kernels.bad_handle');
  });

  it('says what scratch the operation asks for, which is what the operation then holds', () => {
    const [R, V, D] = [48, 70_000, 8];
    const score = (on: typeof rehearsal): void =>
      on.scoreHead(tensors.bf16([R, D]), tensors.bf16([V, D]), tensors.i32([R]), tensors.i32([R, 2]), tensors.f32([R, 2]), tensors.f32([R]), tensors.f32([R]));
    rehearsal.workspaceBytes();
    const before = kernels.workspaceBytes();
    score(rehearsal);
    const wanted = rehearsal.workspaceBytes();
    expect(kernels.workspaceBytes()).toBe(before);
    expect(wanted).toBeGreaterThanOrEqual(R * V * 4);
    expect(rehearsal.workspaceBytes()).toBe(0);
    score(kernels);
    expect(kernels.workspaceBytes()).toBe(wanted);
  });
});

describe('a rehearsed tensor', () => {
  it('is address space: larger than this machine, not counted, and zero until it is written', () => {
    const before = kernels.allocatedBytes();
    const large = rehearsal.alloc('f32', [1 << 20, 1 << 16]);
    expect(kernels.allocatedBytes()).toBe(before);
    const window = kernels.view(large, 2 ** 35, [2]);
    const values = new Float32Array(2).fill(7);
    kernels.read(window, values);
    expect([...values]).toEqual([0, 0]);
    kernels.write(window, values.fill(3));
    kernels.read(window, values);
    expect([...values]).toEqual([3, 3]);
    kernels.free(window);
    kernels.free(large);
    expect(kernels.allocatedBytes()).toBe(before);
  });
});

import { afterEach, beforeEach, expect, test } from 'vitest';
import { loadKernels, type Kernels } from '../../../kernels/binding/kernels.js';
import { Arena } from './arena.js';

let kernels: Kernels;
let arena: Arena;
let before: number;

beforeEach(() => {
  kernels = loadKernels();
  before = kernels.allocatedBytes();
  arena = new Arena(kernels);
});

afterEach(() => arena.free());

test('tensors taken together do not share memory', () => {
  arena.reset({ f32: 64, bf16: 0, i32: 0 });
  const first = arena.take('f32', [3]);
  const second = arena.take('f32', [3]);
  kernels.write(first, Float32Array.of(1, 2, 3));
  kernels.write(second, Float32Array.of(4, 5, 6));
  const read = new Float32Array(3);
  kernels.read(first, read);
  expect([...read]).toEqual([1, 2, 3]);
});

test('a tensor given back is handed out again for its shape and type only', () => {
  arena.reset({ f32: 1024, bf16: 1024, i32: 0 });
  const tensor = arena.take('f32', [4, 2]);
  arena.give(tensor);
  expect(arena.take('f32', [8])).not.toBe(tensor);
  expect(arena.take('bf16', [4, 2])).not.toBe(tensor);
  expect(arena.take('f32', [4, 2])).toBe(tensor);
});

test('refuses a tensor that is given back twice', () => {
  arena.reset({ f32: 64, bf16: 0, i32: 0 });
  const tensor = arena.take('f32', [4]);
  arena.give(tensor);
  expect(() => arena.give(tensor)).toThrow(/given back before/);
});

test('a second pass of a plan allocates nothing', () => {
  const plan = { f32: 300_000, bf16: 300_000, i32: 100 };
  arena.reset(plan);
  const held = kernels.allocatedBytes();
  arena.take('f32', [300_000]);
  expect(arena.missingBytes(plan)).toBe(0);
  arena.reset(plan);
  arena.take('f32', [300_000]);
  expect(kernels.allocatedBytes()).toBe(held);
});

test('a pass larger than its plan finds room, and the next one finds it in one block', () => {
  arena.reset({ f32: 16, bf16: 0, i32: 0 });
  const tensors = [arena.take('f32', [200_000]), arena.take('f32', [200_000])];
  for (const [index, tensor] of tensors.entries()) kernels.write(tensor, new Float32Array(200_000).fill(index));
  const held = kernels.allocatedBytes();
  arena.reset({ f32: 16, bf16: 0, i32: 0 });
  arena.take('f32', [400_000]);
  expect(kernels.allocatedBytes()).toBe(held);
});

test('freeing gives every byte back', () => {
  arena.reset({ f32: 100, bf16: 100, i32: 100 });
  arena.give(arena.take('i32', [7]));
  arena.take('bf16', [7]);
  arena.free();
  expect(kernels.allocatedBytes()).toBe(before);
});

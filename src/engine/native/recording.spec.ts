import { afterEach, describe, expect, it } from 'vitest';
import { loadKernels } from '../../../kernels/binding/kernels.js';
import { Tensors } from '../../../test/support/kernels/tensors.js';
import { Recording } from './recording.js';

const kernels = loadKernels();
const tensors = new Tensors(kernels);
afterEach(() => tensors.dispose());

describe('Recording', () => {
  it('makes the same calls in the same order again, on what their tensors hold then', () => {
    const [ids, table, x] = [tensors.i32([2], [0, 1]), tensors.bf16([3, 2], [1, 2, 3, 4, 5, 6]), tensors.f32([2, 2])];
    const [delta, weight, out, rstd] = [tensors.f32([2, 2], [1, 1, 1, 1]), tensors.f32([2], [1, 1]), tensors.bf16([2, 2]), tensors.f32([2])];
    const recording = new Recording(kernels);
    recording.kernels.embeddingForward(ids, table, x);
    recording.kernels.rmsNormForward(x, delta, weight, 0, out, rstd);
    expect([...tensors.values(x)]).toEqual([2, 3, 4, 5]);

    kernels.write(ids, Int32Array.of(2, 0));
    recording.again();
    expect([...tensors.values(x)]).toEqual([6, 7, 2, 3]);
    expect(tensors.values(rstd)[1]).toBeCloseTo(1 / Math.sqrt(6.5), 6);
  });
});

import { afterEach, describe, expect, it } from 'vitest';
import { codeOf, EXACT, expectClose, expectRepeatable, expectSameBits, normals } from '../../test/support/kernels/check.js';
import { roundedToBf16, roundedToF32 } from '../../test/support/kernels/bf16.js';
import { Tensors } from '../../test/support/kernels/tensors.js';
import { loadKernels, type Tensor } from '../binding/kernels.js';

const kernels = loadKernels();
const tensors = new Tensors(kernels);
afterEach(() => tensors.dispose());

const settings = { learningRate: 1e-2, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1 };
type Settings = typeof settings;
const CLIP_FACTOR = 0.5;

interface State {
  readonly master: Float64Array;
  readonly m: Float64Array;
  readonly v: Float64Array;
}

/** The formula of adamw.h in float64, in place. */
function referenceStep({ master, m, v }: State, grad: Float64Array, step: number): void {
  const { learningRate, beta1, beta2, eps, weightDecay } = settings;
  for (let i = 0; i < master.length; i++) {
    const g = grad[i] * CLIP_FACTOR;
    m[i] = beta1 * m[i] + (1 - beta1) * g;
    v[i] = beta2 * v[i] + (1 - beta2) * g * g;
    const move = m[i] / (1 - beta1 ** step) / (Math.sqrt(v[i] / (1 - beta2 ** step)) + eps);
    master[i] -= learningRate * (move + weightDecay * master[i]);
  }
}

interface Handles {
  readonly master: Tensor;
  readonly m: Tensor;
  readonly v: Tensor;
  readonly grad: Tensor;
  readonly weight: Tensor;
  readonly normClip: Tensor;
}

function run({ master, m, v, grad, weight, normClip }: Handles, step: number, change: Partial<Settings> = {}): void {
  const { learningRate, beta1, beta2, eps, weightDecay } = { ...settings, ...change };
  kernels.adamw(master, m, v, grad, weight, normClip, learningRate, beta1, beta2, eps, weightDecay, step);
}

function makeHandles(count: number, weightType: 'f32' | 'bf16', start: ArrayLike<number>): Handles {
  const [m, v, grad] = [tensors.f32([count]), tensors.f32([count]), tensors.f32([count])];
  return { master: tensors.f32([count], start), m, v, grad, weight: tensors[weightType]([count]), normClip: tensors.f32([2], [7, CLIP_FACTOR]) };
}

describe('adamw', () => {
  it.each([
    { count: 0, weightType: 'bf16' },
    { count: 1, weightType: 'f32' },
    { count: 37, weightType: 'bf16' },
    { count: 40_005, weightType: 'bf16' },
  ] as const)('follows the formula for ten steps on $count elements, weight in $weightType', ({ count, weightType }) => {
    const start = roundedToF32(normals(count, 1));
    const state = { master: Float64Array.from(start), m: new Float64Array(count), v: new Float64Array(count) };
    const handles = makeHandles(count, weightType, start);
    for (let step = 1; step <= 10; step++) {
      const grad = roundedToF32(normals(count, 10 + step, 0.01));
      kernels.write(handles.grad, Float32Array.from(grad));
      run(handles, step);
      referenceStep(state, grad, step);
    }
    expectClose(tensors.values(handles.m), state.m, { relative: 2e-6, absolute: 1e-9 });
    expectClose(tensors.values(handles.v), state.v, { relative: 4e-6, absolute: 1e-12 });
    expectClose(tensors.values(handles.master), state.master, { relative: 2e-6, absolute: 2e-6 });
    const rounded = weightType === 'bf16' ? roundedToBf16(tensors.values(handles.master)) : tensors.values(handles.master);
    expectClose(tensors.values(handles.weight), rounded, EXACT);
    expect(tensors.values(handles.grad).every((value) => value === 0)).toBe(true);
  });

  it('moves by the learning rate against the sign of the first gradient', () => {
    const handles = makeHandles(2, 'f32', [0, 0]);
    kernels.write(handles.grad, Float32Array.from([3, -0.004]));
    run(handles, 1);
    expectClose(tensors.values(handles.weight), [-0.01, 0.01], { relative: 1e-4 });
  });

  it('lets a float32 weight be its own master', () => {
    const start = normals(20, 2);
    const grad = Float32Array.from(normals(20, 3));
    const apart = makeHandles(20, 'f32', start);
    const shared = makeHandles(20, 'f32', start);
    for (const handles of [apart, { ...shared, weight: shared.master }]) {
      kernels.write(handles.grad, grad);
      run(handles, 3);
    }
    expectSameBits(tensors.bits(shared.master), tensors.bits(apart.weight));
  });

  it('gives the same bits every time and at every thread count', () => {
    const [start, grad] = [normals(50_000, 4), Float32Array.from(normals(50_000, 5))];
    expectRepeatable(kernels, () => {
      const handles = makeHandles(50_000, 'bf16', start);
      kernels.write(handles.grad, grad);
      run(handles, 2);
      return [tensors.bits(handles.master), tensors.bits(handles.weight)];
    }, { across: 'threads' });
  });

  it('refuses wrong shapes, dtypes and settings before any work', () => {
    const handles = makeHandles(4, 'bf16', [1, 2, 3, 4]);
    const code = (change: Partial<Handles>) => codeOf(() => run({ ...handles, ...change }, 1));
    expect(code({ m: tensors.f32([5]) })).toBe('kernels.bad_shape');
    expect(code({ weight: tensors.bf16([3]) })).toBe('kernels.bad_shape');
    expect(code({ normClip: tensors.f32([1]) })).toBe('kernels.bad_shape');
    expect(code({ v: tensors.bf16([4]) })).toBe('kernels.bad_dtype');
    expect(code({ weight: tensors.i32([4]) })).toBe('kernels.bad_dtype');
    expect(codeOf(() => run(handles, 0))).toBe('kernels.bad_value');
    expect(codeOf(() => run(handles, 1, { beta1: 1 }))).toBe('kernels.bad_value');
    expect(codeOf(() => run(handles, 1, { eps: -1 }))).toBe('kernels.bad_value');
    expect(codeOf(() => run(handles, 1, { learningRate: NaN }))).toBe('kernels.bad_value');
    expect([...tensors.values(handles.master)]).toEqual([1, 2, 3, 4]);
  });
});

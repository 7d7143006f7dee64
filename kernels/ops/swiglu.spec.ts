import { afterEach, describe, expect, it } from 'vitest';
import { BF16_ROUNDING, codeOf, expectClose, expectRepeatable, expectSameBits, normals } from '../../test/support/kernels/check.js';
import { roundedToBf16 } from '../../test/support/kernels/bf16.js';
import { Tensors } from '../../test/support/kernels/tensors.js';
import { loadKernels } from '../binding/kernels.js';

const kernels = loadKernels();
const tensors = new Tensors(kernels);
afterEach(() => tensors.dispose());

const shapes = [
  { N: 0, F: 4 },
  { N: 1, F: 1 },
  { N: 3, F: 19 },
  { N: 17, F: 96 },
];

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));
const forward = (gate: number, up: number): number => gate * sigmoid(gate) * up;

/** The formula of swiglu.h: the gradients of the gate and of the up value. */
function backward(dout: number, gate: number, up: number): { dgate: number; dup: number } {
  const s = sigmoid(gate);
  return { dgate: dout * up * s * (1 + gate * (1 - s)), dup: dout * gate * s };
}

/** Calls `visit` with the index of each output element and of its gate and up in a row of 2 F. */
function eachElement({ N, F }: { N: number; F: number }, visit: (out: number, gate: number, up: number) => void): void {
  for (let n = 0; n < N; n++) for (let f = 0; f < F; f++) visit(n * F + f, n * 2 * F + f, n * 2 * F + F + f);
}

function backwardReference(shape: { N: number; F: number }, dout: Float64Array, gateUp: Float64Array): Float64Array {
  const expected = new Float64Array(gateUp.length);
  eachElement(shape, (out, gate, up) => {
    const { dgate, dup } = backward(dout[out], gateUp[gate], gateUp[up]);
    expected[gate] = dgate;
    expected[up] = dup;
  });
  return expected;
}

describe('swigluForward', () => {
  it.each(shapes)('is silu(gate) times up on $N rows of $F', (shape) => {
    const gateUp = roundedToBf16(normals(shape.N * 2 * shape.F, 1, 4));
    const out = tensors.bf16([shape.N, shape.F]);
    kernels.swigluForward(tensors.bf16([shape.N, 2 * shape.F], gateUp), out);
    const expected = new Float64Array(shape.N * shape.F);
    eachElement(shape, (index, gate, up) => (expected[index] = forward(gateUp[gate], gateUp[up])));
    expectClose(tensors.values(out), expected, BF16_ROUNDING);
  });

  it('goes to 0 and to gate times up far from 0, and keeps NaN', () => {
    const out = tensors.bf16([1, 4]);
    kernels.swigluForward(tensors.bf16([1, 8], [-200, 200, 0, NaN, 2, 2, 2, 2]), out);
    const values = tensors.values(out);
    expectClose(values.subarray(0, 3), [0, 400, 0], BF16_ROUNDING);
    expect(values[3]).toBeNaN();
  });

  it('refuses wrong shapes and dtypes', () => {
    expect(codeOf(() => kernels.swigluForward(tensors.bf16([2, 6]), tensors.bf16([2, 4])))).toBe('kernels.bad_shape');
    expect(codeOf(() => kernels.swigluForward(tensors.bf16([2, 6]), tensors.bf16([3, 3])))).toBe('kernels.bad_shape');
    expect(codeOf(() => kernels.swigluForward(tensors.bf16([2, 6]), tensors.f32([2, 3])))).toBe('kernels.bad_dtype');
  });
});

describe('gatedLinear', () => {
  const fused = kernels.packedGatedElements(16, 8) > 0;
  if (!fused) it('is of CPUs with tile units alone', () => expect(kernels.packedGatedElements(1536, 576)).toBe(0));
  else {
    it.each([{ N: 1, I: 1, F: 1 }, { N: 13, I: 48, F: 31 }, { N: 32, I: 576, F: 320 }, { N: 67, I: 130, F: 96 }, { N: 128, I: 33, F: 48 }, { N: 129, I: 33, F: 48 }, { N: 700, I: 1030, F: 200 }, { N: 300, I: 3072, F: 17 }])(
      'has the bits of a product and the unit behind it: [$N, $I] to $F',
      ({ N, I, F }) => {
        const [x, weight] = [tensors.bf16([N, I], normals(N * I, 6)), tensors.bf16([2 * F, I], normals(2 * F * I, 7))];
        const packed = tensors.bf16([kernels.packedGatedElements(F, I)]);
        kernels.packGated(weight, packed);
        expectRepeatable(kernels, () => {
          const [gateUp, expected, found] = [tensors.bf16([N, 2 * F]), tensors.bf16([N, F]), tensors.bf16([N, F])];
          kernels.linearForward(x, weight, gateUp);
          kernels.swigluForward(gateUp, expected);
          kernels.gatedLinear(x, packed, found);
          expectSameBits(tensors.bits(found), tensors.bits(expected));
          return [tensors.bits(found)];
        }, { across: 'threads' });
      },
    );

    it('does nothing without rows', () => {
      const packed = tensors.bf16([kernels.packedGatedElements(16, 8)]);
      kernels.gatedLinear(tensors.bf16([0, 8]), packed, tensors.bf16([0, 16]));
    });

    it('leaves weights alone whose sums are cut', () => {
      expect(kernels.packedGatedElements(16, 3072)).toBeGreaterThan(0);
      expect(kernels.packedGatedElements(16, 3073)).toBe(0);
    });

    it('refuses an odd number of rows, other numbers of elements, and dtypes', () => {
      const packed = tensors.bf16([kernels.packedGatedElements(16, 8)]);
      expect(codeOf(() => kernels.packGated(tensors.bf16([31, 8]), packed))).toBe('kernels.bad_shape');
      expect(codeOf(() => kernels.packGated(tensors.bf16([34, 8]), packed))).toBe('kernels.bad_shape');
      expect(codeOf(() => kernels.gatedLinear(tensors.bf16([2, 8]), packed, tensors.bf16([2, 17])))).toBe('kernels.bad_shape');
      expect(codeOf(() => kernels.gatedLinear(tensors.bf16([2, 8]), packed, tensors.f32([2, 16])))).toBe('kernels.bad_dtype');
    });
  }
});

describe('swigluBackward', () => {
  it.each(shapes)('matches the closed form on $N rows of $F, apart and in place', (shape) => {
    const gateUp = roundedToBf16(normals(shape.N * 2 * shape.F, 2, 3));
    const dout = roundedToBf16(normals(shape.N * shape.F, 3));
    const [source, apart] = [tensors.bf16([shape.N, 2 * shape.F], gateUp), tensors.bf16([shape.N, 2 * shape.F], gateUp.map(() => 9))];
    const upstream = tensors.bf16([shape.N, shape.F], dout);
    kernels.swigluBackward(upstream, source, apart);
    expectClose(tensors.values(apart), backwardReference(shape, dout, gateUp), BF16_ROUNDING);
    kernels.swigluBackward(upstream, source, source);
    expectSameBits(tensors.bits(source), tensors.bits(apart));
  });

  it('uses a closed form that central differences confirm', () => {
    const step = 1e-5;
    for (const [gate, up] of [[-3, 0.5], [-0.2, 2], [0, 1], [1.7, -1.3]]) {
      const { dgate, dup } = backward(0.7, gate, up);
      expect((0.7 * (forward(gate + step, up) - forward(gate - step, up))) / (2 * step)).toBeCloseTo(dgate, 8);
      expect((0.7 * (forward(gate, up + step) - forward(gate, up - step))) / (2 * step)).toBeCloseTo(dup, 8);
    }
  });

  it('gives the same bits every time and at every thread count', () => {
    const [gateUp, dout] = [normals(64 * 100, 4), normals(64 * 50, 5)];
    expectRepeatable(kernels, () => {
      const source = tensors.bf16([64, 100], gateUp);
      kernels.swigluBackward(tensors.bf16([64, 50], dout), source, source);
      return [tensors.bits(source)];
    }, { across: 'threads' });
  });

  it('refuses wrong shapes and dtypes', () => {
    const [dout, gateUp] = [tensors.bf16([2, 3]), tensors.bf16([2, 6])];
    expect(codeOf(() => kernels.swigluBackward(dout, gateUp, tensors.bf16([2, 3])))).toBe('kernels.bad_shape');
    expect(codeOf(() => kernels.swigluBackward(tensors.bf16([2, 4]), gateUp, gateUp))).toBe('kernels.bad_shape');
    expect(codeOf(() => kernels.swigluBackward(dout, tensors.f32([2, 6]), gateUp))).toBe('kernels.bad_dtype');
  });
});

import { afterEach, describe, expect, it } from 'vitest';
import { BF16_ROUNDING, codeOf, expectClose, expectRepeatable, expectSameBits, integers, normals, relativeL2 } from '../../test/support/kernels/check.js';
import { roundedToBf16, roundedToF32 } from '../../test/support/kernels/bf16.js';
import { Tensors } from '../../test/support/kernels/tensors.js';
import { loadKernels, NO_TENSOR } from '../binding/kernels.js';

const kernels = loadKernels();
const tensors = new Tensors(kernels);
afterEach(() => tensors.dispose());

const EPS = 1e-3;
const shapes = [
  { N: 0, heads: 1, kvHeads: 1, K: 2 },
  { N: 1, heads: 1, kvHeads: 1, K: 2 },
  { N: 9, heads: 9, kvHeads: 3, K: 64 },
  { N: 21, heads: 6, kvHeads: 2, K: 10 },
  { N: 70, heads: 4, kvHeads: 1, K: 38 },
];
const parts = [
  { what: 'nothing', bias: 'without', norms: 'without' },
  { what: 'a bias', bias: 'with', norms: 'without' },
  { what: 'norms', bias: 'without', norms: 'with' },
  { what: 'a bias and norms', bias: 'with', norms: 'with' },
] as const;
const cases = shapes.flatMap((shape) => parts.map((part) => ({ ...shape, ...part })));

type RopeShape = (typeof shapes)[number];
type RopeCase = RopeShape & Pick<(typeof parts)[number], 'bias' | 'norms'>;

interface Numbers {
  readonly rows: Float64Array;
  readonly positions: ArrayLike<number>;
  readonly invFreq: Float64Array;
  readonly bias: Float64Array | undefined;
  readonly norms: { readonly q: Float64Array; readonly k: Float64Array } | undefined;
}

const columns = ({ heads, kvHeads, K }: RopeShape): number => (heads + 2 * kvHeads) * K;

/** Each pair (i, i + K/2) of a head turned by `sign` times its angle. */
function turned(head: Float64Array, position: number, invFreq: Float64Array, sign: 1 | -1): Float64Array {
  const half = head.length / 2;
  return head.map((value, i) => {
    const angle = sign * position * invFreq[i % half];
    return i < half ? value * Math.cos(angle) - head[i + half] * Math.sin(angle) : value * Math.cos(angle) + head[i - half] * Math.sin(angle);
  });
}

const reciprocalRoot = (head: Float64Array): number => 1 / Math.sqrt(head.reduce((sum, x) => sum + x * x, 0) / head.length + EPS);

/** The heads of a row's columns one by one; `weight` is that of its norm, absent for v and without norms. */
function eachHead(shape: RopeShape, { norms }: Numbers, visit: (head: { n: number; at: number; kind: 'q' | 'k' | 'v'; weight: Float64Array | undefined }) => void): void {
  const { N, heads, kvHeads, K } = shape;
  for (let n = 0; n < N; n++) {
    for (let h = 0; h < heads + 2 * kvHeads; h++) {
      const kind = h < heads ? 'q' : h < heads + kvHeads ? 'k' : 'v';
      visit({ n, at: n * columns(shape) + h * K, kind, weight: kind === 'v' ? undefined : norms?.[kind] });
    }
  }
}

const biased = ({ rows, bias }: Numbers): Float64Array => (bias ? rows.map((value, i) => value + bias[i % bias.length]) : rows);

/** The formula of rope.h. */
function forwardReference(shape: RopeShape, numbers: Numbers): Float64Array {
  const x = biased(numbers);
  const out = x.slice();
  eachHead(shape, numbers, ({ n, at, kind, weight }) => {
    if (kind === 'v') return;
    const head = x.slice(at, at + shape.K);
    const r = reciprocalRoot(head);
    out.set(turned(weight ? head.map((value, i) => value * r * weight[i]) : head, numbers.positions[n], numbers.invFreq, 1), at);
  });
  return out;
}

interface Gradients {
  readonly rows: Float64Array;
  readonly bias: Float64Array;
  readonly q: Float64Array;
  readonly k: Float64Array;
}

/** The formula of rope.h; `dout` is the gradient of what the forward writes. */
function backwardReference(shape: RopeShape, numbers: Numbers, dout: Float64Array): Gradients {
  const { K } = shape;
  const C = columns(shape);
  const x = biased(numbers);
  const found = { rows: dout.slice(), bias: new Float64Array(C), q: new Float64Array(K), k: new Float64Array(K) };
  eachHead(shape, numbers, ({ n, at, kind, weight }) => {
    if (kind !== 'v') {
      const u = turned(dout.slice(at, at + K), numbers.positions[n], numbers.invFreq, -1);
      const head = x.slice(at, at + K);
      const r = reciprocalRoot(head);
      const dot = weight ? head.reduce((sum, value, i) => sum + weight[i] * u[i] * value, 0) : 0;
      if (weight) head.forEach((value, i) => (found[kind][i] += u[i] * value * r));
      found.rows.set(weight ? head.map((value, i) => r * (weight[i] * u[i] - (value * r * r * dot) / K)) : u, at);
    }
    for (let i = 0; i < K; i++) found.bias[(at % C) + i] += found.rows[at + i];
  });
  return found;
}

function numbersOf(rope: RopeCase, seed: number): Numbers {
  const C = columns(rope);
  return {
    rows: roundedToBf16(normals(rope.N * C, seed)),
    positions: integers(rope.N, seed + 1, 9000),
    invFreq: roundedToF32(Float64Array.from({ length: rope.K / 2 }, (_, i) => 10000 ** ((-2 * i) / rope.K))),
    bias: rope.bias === 'with' ? roundedToF32(normals(C, seed + 2)) : undefined,
    norms: rope.norms === 'with' ? { q: roundedToF32(normals(rope.K, seed + 3)), k: roundedToF32(normals(rope.K, seed + 4, 3)) } : undefined,
  };
}

/** The arguments both directions share. */
function shared(rope: RopeCase, { positions, invFreq, bias, norms }: Numbers) {
  const { N, K, heads, kvHeads } = rope;
  return [
    tensors.i32([N], positions), tensors.f32([K / 2], invFreq), bias ? tensors.f32([columns(rope)], bias) : NO_TENSOR,
    norms ? tensors.f32([K], norms.q) : NO_TENSOR, norms ? tensors.f32([K], norms.k) : NO_TENSOR, EPS, heads, kvHeads,
  ] as const;
}

/** Runs the backward on gradients that hold something. */
function runBackward(rope: RopeCase, seed: number) {
  const { N, K } = rope;
  const C = columns(rope);
  const numbers = numbersOf(rope, seed);
  const dout = roundedToBf16(normals(N * C, seed + 5));
  const before = { bias: roundedToF32(normals(C, seed + 6)), q: roundedToF32(normals(K, seed + 7)), k: roundedToF32(normals(K, seed + 8)) };
  const handles = {
    rows: tensors.bf16([N, C], dout),
    bias: numbers.bias ? tensors.f32([C], before.bias) : NO_TENSOR,
    q: numbers.norms ? tensors.f32([K], before.q) : NO_TENSOR,
    k: numbers.norms ? tensors.f32([K], before.k) : NO_TENSOR,
  };
  const inputs = [numbers.norms ? tensors.bf16([N, C], numbers.rows) : NO_TENSOR, ...shared(rope, numbers)] as const;
  kernels.ropeBackward(handles.rows, ...inputs, handles.bias, handles.q, handles.k);
  return { numbers, dout, before, handles, inputs };
}

describe('ropeForward', () => {
  it.each(cases)('adds and normalises with $what and rotates q and k, $N rows, $heads and $kvHeads heads of $K', (rope) => {
    const numbers = numbersOf(rope, 1);
    const qkv = tensors.bf16([rope.N, columns(rope)], numbers.rows);
    const out = tensors.bf16([rope.N, columns(rope)]);
    const rest = shared(rope, numbers);
    kernels.ropeForward(qkv, ...rest, out);
    expectClose(tensors.values(out), forwardReference(rope, numbers), BF16_ROUNDING);
    expect([...tensors.values(qkv)]).toEqual([...numbers.rows]);
    kernels.ropeForward(qkv, ...rest, qkv);
    expectSameBits(tensors.bits(qkv), tensors.bits(out));
  });

  it('is exact at position 0 and turns a pair by its angle', () => {
    const qkv = tensors.bf16([2, 6], [1, 0, 1, 0, 5, 6, 1, 0, 1, 0, 5, 6]);
    kernels.ropeForward(qkv, tensors.i32([2], [0, 1]), tensors.f32([1], [Math.PI / 2]), NO_TENSOR, NO_TENSOR, NO_TENSOR, 0, 1, 1, qkv);
    expectClose(tensors.values(qkv), [1, 0, 1, 0, 5, 6, 0, 1, 0, 1, 5, 6], { absolute: 1e-7 });
  });

  it('keeps its accuracy in every quarter of the circle and far out', () => {
    const N = 4000;
    const qkv = tensors.bf16([N, 6], Float64Array.from({ length: N * 6 }, (_, i) => (i % 6 === 0 ? 1 : 0)));
    const positions = Int32Array.from({ length: N }, (_, i) => i - 2000 + (i % 2) * 1_000_000);
    const invFreq = Math.fround(0.01);
    kernels.ropeForward(qkv, tensors.i32([N], positions), tensors.f32([1], [invFreq]), NO_TENSOR, NO_TENSOR, NO_TENSOR, 0, 1, 1, qkv);
    const values = tensors.values(qkv);
    expectClose(values.filter((_, i) => i % 6 === 0), Float64Array.from(positions, (p) => Math.cos(p * invFreq)), BF16_ROUNDING);
    expectClose(values.filter((_, i) => i % 6 === 1), Float64Array.from(positions, (p) => Math.sin(p * invFreq)), BF16_ROUNDING);
  });

  it('divides by eps alone in a head of zeros', () => {
    const weights = [tensors.f32([2], [3, 4]), tensors.f32([2], [5, 6])] as const;
    const qkv = tensors.bf16([1, 6]);
    kernels.ropeForward(qkv, tensors.i32([1]), tensors.f32([1]), tensors.f32([6], [1, 0, 0, 1, 7, 8]), ...weights, 0.5, 1, 1, qkv);
    // The mean of squares is 1/2: 1 / sqrt(1/2 + eps) is 1.
    expect([...tensors.values(qkv)]).toEqual([3, 0, 0, 6, 7, 8]);
    kernels.zero(qkv);
    kernels.ropeForward(qkv, tensors.i32([1]), tensors.f32([1]), NO_TENSOR, ...weights, 0.5, 1, 1, qkv);
    expect([...tensors.values(qkv)]).toEqual([0, 0, 0, 0, 0, 0]);
  });
});

describe('ropeBackward', () => {
  it.each(cases)('gives the gradients of rows and weights with $what, $N rows, $heads and $kvHeads heads of $K', (rope) => {
    const { numbers, dout, before, handles } = runBackward(rope, 11);
    const wanted = backwardReference(rope, numbers, dout);
    // A difference of nearly equal numbers: in a head of two the norm leaves next to nothing of the gradient.
    expectClose(tensors.values(handles.rows), wanted.rows, { ...BF16_ROUNDING, absolute: 2e-5 });
    if (rope.N > 1) expect(relativeL2(tensors.values(handles.rows), wanted.rows)).toBeLessThan(2 ** -8);
    for (const name of ['bias', 'q', 'k'] as const) {
      if (handles[name] === NO_TENSOR) continue;
      expectClose(tensors.values(handles[name]), wanted[name].map((value, i) => value + before[name][i]), { relative: 1e-5, absolute: 3e-5 });
    }
  });

  it('uses formulas that central differences confirm', () => {
    const rope = { N: 3, heads: 2, kvHeads: 1, K: 6, bias: 'with', norms: 'with' } as const;
    const numbers = numbersOf(rope, 21);
    const { rows, bias = new Float64Array(), norms } = numbers;
    if (!norms) throw new Error('the case has no norms');
    const dout = normals(rows.length, 22);
    const loss = (): number => forwardReference(rope, numbers).reduce((sum, value, i) => sum + value * dout[i], 0);
    const slope = (values: Float64Array): Float64Array => values.slice().map((value, i) => {
      const step = 1e-5;
      values[i] = value + step;
      const above = loss();
      values[i] = value - step;
      const below = loss();
      values[i] = value;
      return (above - below) / (2 * step);
    });
    const wanted = backwardReference(rope, numbers, dout);
    expectClose(slope(rows), wanted.rows, { absolute: 1e-8 });
    expectClose(slope(bias), wanted.bias, { absolute: 1e-8 });
    expectClose(slope(norms.q), wanted.q, { absolute: 1e-8 });
    expectClose(slope(norms.k), wanted.k, { absolute: 1e-8 });
  });

  it('does not mind a norm weight of 0', () => {
    const rope = { N: 5, heads: 2, kvHeads: 1, K: 4, bias: 'without', norms: 'with' } as const;
    const drawn = numbersOf(rope, 25);
    const numbers = { ...drawn, norms: { q: Float64Array.of(0, 1, 0, 2), k: new Float64Array(4) } };
    const dout = roundedToBf16(normals(rope.N * columns(rope), 26));
    const [drows, dq, dk] = [tensors.bf16([rope.N, columns(rope)], dout), tensors.f32([4]), tensors.f32([4])];
    kernels.ropeBackward(drows, tensors.bf16([rope.N, columns(rope)], numbers.rows), ...shared(rope, numbers), NO_TENSOR, dq, dk);
    const wanted = backwardReference(rope, numbers, dout);
    expectClose(tensors.values(drows), wanted.rows, BF16_ROUNDING);
    expectClose(tensors.values(dq), wanted.q, { relative: 1e-5, absolute: 1e-5 });
    expectClose(tensors.values(dk), wanted.k, { relative: 1e-5, absolute: 1e-5 });
  });
});

describe('both directions', () => {
  it.each(parts)('give the same bits every time and at every thread count with $what', (part) => {
    const rope = { N: 200, heads: 3, kvHeads: 1, K: 20, ...part };
    expectRepeatable(kernels, () => {
      const numbers = numbersOf(rope, 31);
      const out = tensors.bf16([rope.N, columns(rope)], numbers.rows);
      kernels.ropeForward(out, ...shared(rope, numbers), out);
      const { rows, bias, q, k } = runBackward(rope, 32).handles;
      return [out, rows, bias, q, k].filter((tensor) => tensor !== NO_TENSOR).map((tensor) => tensors.bits(tensor));
    }, { across: 'threads' });
  });

  it('refuse heads that do not fit, wrong shapes and dtypes', () => {
    const [qkv, positions, invFreq, none] = [tensors.bf16([2, 24]), tensors.i32([2]), tensors.f32([2]), NO_TENSOR];
    const forward = (change: { qkv?: typeof qkv; positions?: typeof qkv; invFreq?: typeof qkv; bias?: typeof qkv; q?: typeof qkv; k?: typeof qkv; eps?: number; heads?: number; kvHeads?: number; out?: typeof qkv }) => {
      const given = { qkv, positions, invFreq, bias: none, q: none, k: none, eps: EPS, heads: 4, kvHeads: 1, out: qkv, ...change };
      return codeOf(() => kernels.ropeForward(given.qkv, given.positions, given.invFreq, given.bias, given.q, given.k, given.eps, given.heads, given.kvHeads, given.out));
    };
    expect(forward({})).toBe('none');
    expect(forward({ heads: 3, kvHeads: 2 })).toBe('kernels.bad_shape');
    expect(forward({ heads: 3 })).toBe('kernels.bad_shape');
    expect(forward({ invFreq: tensors.f32([4]) })).toBe('kernels.bad_shape');
    expect(forward({ positions: tensors.i32([3]) })).toBe('kernels.bad_shape');
    expect(forward({ qkv: tensors.bf16([2, 9]), out: tensors.bf16([2, 9]), heads: 1 })).toBe('kernels.bad_shape');
    expect(forward({ out: tensors.bf16([3, 24]) })).toBe('kernels.bad_shape');
    expect(forward({ qkv: tensors.f32([2, 24]) })).toBe('kernels.bad_dtype');
    expect(forward({ heads: 0 })).toBe('kernels.bad_value');
    expect(forward({ bias: tensors.f32([23]) })).toBe('kernels.bad_shape');
    expect(forward({ bias: tensors.bf16([24]) })).toBe('kernels.bad_dtype');
    expect(forward({ q: tensors.f32([4]) })).toBe('kernels.bad_value');
    expect(forward({ q: tensors.f32([4]), k: tensors.f32([3]) })).toBe('kernels.bad_shape');
    expect(forward({ q: tensors.f32([2]), k: tensors.f32([2]) })).toBe('kernels.bad_shape');
    expect(forward({ q: tensors.f32([4]), k: tensors.f32([4]), eps: -1 })).toBe('kernels.bad_value');
  });

  it('refuse gradients without their weights and weights without their gradients, before any work', () => {
    const [dqkv, positions, invFreq, none] = [tensors.bf16([2, 24], normals(48, 41)), tensors.i32([2], [1, 2]), tensors.f32([2], [1, 1]), NO_TENSOR];
    const [bias, head] = [tensors.f32([24]), tensors.f32([4])];
    const before = tensors.values(dqkv);
    const backward = (weights: { qkv?: typeof dqkv; bias?: typeof dqkv; norm?: typeof dqkv }, gradients: { bias?: typeof dqkv; q?: typeof dqkv; k?: typeof dqkv }, heads = 4) =>
      codeOf(() => kernels.ropeBackward(dqkv, weights.qkv ?? none, positions, invFreq, weights.bias ?? none, weights.norm ?? none, weights.norm ?? none, EPS, heads, 1,
        gradients.bias ?? none, gradients.q ?? none, gradients.k ?? none));
    expect(backward({ bias }, {})).toBe('kernels.bad_value');
    expect(backward({}, { bias: tensors.f32([24]) })).toBe('kernels.bad_value');
    expect(backward({ norm: head }, { q: tensors.f32([4]), k: tensors.f32([4]) })).toBe('kernels.bad_value');
    expect(backward({ norm: head, qkv: tensors.bf16([2, 24]) }, { q: tensors.f32([4]) })).toBe('kernels.bad_value');
    expect(backward({ qkv: tensors.bf16([2, 24]) }, {})).toBe('kernels.bad_value');
    expect(backward({ norm: head, qkv: tensors.bf16([3, 24]) }, { q: tensors.f32([4]), k: tensors.f32([4]) })).toBe('kernels.bad_shape');
    expect(backward({ bias }, { bias: tensors.f32([22]) })).toBe('kernels.bad_shape');
    expect(backward({}, {}, 1.5)).toBe('kernels.bad_value');
    expect(tensors.values(dqkv)).toEqual(before);
    expect(backward({ norm: head, qkv: tensors.bf16([2, 24]) }, { q: tensors.f32([4]), k: tensors.f32([4]) })).toBe('none');
  });
});

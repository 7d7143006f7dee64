import { afterEach, describe, expect, it } from 'vitest';
import { attentionGradientReference, attentionReference, fusedColumns, type AttentionSizes } from '../../test/support/kernels/attention-reference.js';
import { roundedToBf16 } from '../../test/support/kernels/bf16.js';
import { BF16_ROUNDING, codeOf, cosine, expectClose, expectRepeatable, expectSameBits, normals, relativeL2 } from '../../test/support/kernels/check.js';
import { Tensors } from '../../test/support/kernels/tensors.js';
import { PAGE_POSITIONS, loadKernels, type Tensor } from '../binding/kernels.js';

const kernels = loadKernels();
const tensors = new Tensors(kernels);
afterEach(() => tensors.dispose());

const CASES: Record<string, AttentionSizes> = {
  'one token alone': { cuSeqlens_S1: [0, 1], heads: 1, kvHeads: 1, width: 16 },
  'single tokens between short sequences': { cuSeqlens_S1: [0, 1, 4, 5, 12], heads: 3, kvHeads: 1, width: 24 },
  'an empty sequence': { cuSeqlens_S1: [0, 3, 3, 7], heads: 2, kvHeads: 2, width: 18 },
  'blocks crossed': { cuSeqlens_S1: [0, 31, 64, 193], heads: 2, kvHeads: 2, width: 16 },
  'grouped heads of width 64': { cuSeqlens_S1: [0, 50, 51, 181], heads: 9, kvHeads: 3, width: 64 },
  'a narrow head': { cuSeqlens_S1: [0, 70], heads: 4, kvHeads: 2, width: 2 },
  'keys in parts': { cuSeqlens_S1: [0, 5, 2066], heads: 2, kvHeads: 1, width: 4 },
};

interface Problem {
  readonly sizes: AttentionSizes;
  readonly rows: number;
  readonly qkv_NC: Float64Array;
  readonly dout: Float64Array;
}

function problem(sizes: AttentionSizes): Problem {
  const rows = sizes.cuSeqlens_S1[sizes.cuSeqlens_S1.length - 1];
  return {
    sizes,
    rows,
    qkv_NC: roundedToBf16(normals(rows * fusedColumns(sizes), 1, 1.5)),
    dout: roundedToBf16(normals(rows * sizes.heads * sizes.width, 2)),
  };
}

function forward({ sizes, rows, qkv_NC }: Problem): { qkv: Tensor; cuSeqlens: Tensor; out: Tensor; lse: Tensor } {
  const qkv = tensors.bf16([rows, fusedColumns(sizes)], qkv_NC);
  const cuSeqlens = tensors.i32([sizes.cuSeqlens_S1.length], sizes.cuSeqlens_S1);
  const out = tensors.bf16([rows, sizes.heads * sizes.width]);
  const lse = tensors.f32([rows, sizes.heads]);
  kernels.attentionForward(qkv, cuSeqlens, sizes.heads, sizes.kvHeads, out, lse);
  return { qkv, cuSeqlens, out, lse };
}

function backward(given: Problem): Tensor {
  const { sizes, rows, dout } = given;
  const { qkv, cuSeqlens, out, lse } = forward(given);
  const dqkv = tensors.bf16([rows, fusedColumns(sizes)]);
  kernels.attentionBackward(tensors.bf16([rows, sizes.heads * sizes.width], dout), qkv, out, lse, cuSeqlens, sizes.heads, sizes.kvHeads, dqkv);
  return dqkv;
}

describe.each(Object.entries(CASES))('attention over %s', (_, sizes) => {
  const given = problem(sizes);

  it('gives the reference output and log-sum-exp', () => {
    const { out, lse } = forward(given);
    const expected = attentionReference(sizes, given.qkv_NC);
    expectClose(tensors.values(out), expected.out, { ...BF16_ROUNDING, absolute: 1e-5 });
    expectClose(tensors.values(lse), expected.lse, { relative: 1e-6, absolute: 2e-6 });
  });

  it('gives the reference gradient', () => {
    const actual = tensors.values(backward(given));
    const expected = attentionGradientReference(sizes, given.qkv_NC, given.dout);
    expect(relativeL2(actual, expected)).toBeLessThan(5e-3);
    expect(cosine(actual, expected)).toBeGreaterThan(0.99995);
    expectClose(actual, expected, { relative: 2e-2, absolute: 5e-2 }); // out is rounded to bf16 before delta is taken from it
  });
});

describe('the attention reference', () => {
  it('has the gradient that central differences give', () => {
    const { sizes, qkv_NC, dout } = problem({ cuSeqlens_S1: [0, 3, 4], heads: 2, kvHeads: 1, width: 4 });
    const lossAt = (index: number, step: number): number => {
      const moved = qkv_NC.slice();
      moved[index] += step;
      return attentionReference(sizes, moved).out.reduce((sum, value, i) => sum + value * dout[i], 0);
    };
    const differences = qkv_NC.map((_, index) => (lossAt(index, 1e-5) - lossAt(index, -1e-5)) / 2e-5);
    expectClose(attentionGradientReference(sizes, qkv_NC, dout), differences, { absolute: 1e-8 });
  });
});

describe('packing', () => {
  const together = problem(CASES['grouped heads of width 64']);
  const columns = fusedColumns(together.sizes);

  it('gives each sequence the bits it has alone', () => {
    const packed = tensors.bits(forward(together).out);
    const begin = 51;
    const alone = { ...together, rows: 130, qkv_NC: together.qkv_NC.slice(begin * columns), sizes: { ...together.sizes, cuSeqlens_S1: [0, 130] } };
    expectSameBits(tensors.bits(forward(alone).out), packed.slice(begin * 9 * 64));
  });

  it.each(['grouped heads of width 64', 'keys in parts'])('repeats its bits at any number of threads, forward and backward: %s', (name) => {
    const given = problem(CASES[name]);
    expectRepeatable(kernels, () => {
      const { out, lse } = forward(given);
      const bits = [tensors.bits(out), tensors.bits(lse), tensors.bits(backward(given))];
      tensors.dispose();
      return bits;
    }, { across: 'threads' });
  });

  it('does nothing for no rows', () => {
    const { lse } = forward(problem({ cuSeqlens_S1: [0, 0], heads: 2, kvHeads: 1, width: 16 }));
    expect(tensors.values(lse)).toHaveLength(0);
  });
});

describe('decode over the cache', () => {
  const [slots, pagesASlot] = [3, 13];
  // No slot's pages follow each other; page 39 is nobody's.
  const scattered = Array.from({ length: slots * pagesASlot }, (_, index) => (index * 7) % (slots * pagesASlot));
  const plain: AttentionSizes = { cuSeqlens_S1: [0, 190], heads: 6, kvHeads: 2, width: 24 };
  const columns = fusedColumns(plain);
  const page16 = PAGE_POSITIONS * plain.kvHeads * plain.width;

  /** Caches whose slot 2 holds the sequence, and which hold what would spoil any result elsewhere. */
  function filledCaches({ sizes, rows, qkv_NC }: Problem): { k: Tensor; v: Tensor } {
    const shape = [slots * pagesASlot + 1, PAGE_POSITIONS * sizes.kvHeads * sizes.width];
    const spoilt = new Float64Array(shape.reduce((product, extent) => product * extent)).fill(NaN);
    const caches = { k: tensors.bf16(shape, spoilt), v: tensors.bf16(shape, spoilt) };
    kernels.kvWrite(tensors.bf16([rows, fusedColumns(sizes)], qkv_NC), tensors.i32([rows], new Array<number>(rows).fill(2)),
      tensors.i32([rows], Array.from({ length: rows }, (_, n) => n)), tensors.i32([slots, pagesASlot], scattered), sizes.kvHeads, caches.k, caches.v);
    return caches;
  }

  function decode(given: Problem, positions: readonly number[], { slot = 2, pages = scattered } = {}): Tensor {
    const { sizes, qkv_NC } = given;
    const width = fusedColumns(sizes);
    const rows = new Float64Array(positions.length * width);
    positions.forEach((position, n) => rows.set(qkv_NC.subarray(position * width, (position + 1) * width), n * width));
    const out = tensors.bf16([positions.length, sizes.heads * sizes.width]);
    const { k, v } = filledCaches(given);
    kernels.attentionDecode(tensors.bf16([positions.length, width], rows), tensors.i32([positions.length], positions.map(() => slot)),
      tensors.i32([positions.length], positions), tensors.i32([slots, pagesASlot], pages), sizes.heads, sizes.kvHeads, k, v, out);
    return out;
  }

  it.each<[string, AttentionSizes]>([
    ['three heads a kv head, width 64', { ...plain, heads: 9, kvHeads: 3, width: 64 }],
    ['two heads a kv head, width 128', { ...plain, heads: 4, kvHeads: 2, width: 128 }],
    ['seven heads a kv head, width 32', { ...plain, heads: 7, kvHeads: 1, width: 32 }],
    ['more heads a kv head than a tile has rows', { ...plain, heads: 17, kvHeads: 1, width: 32 }],
    ['heads that end between blocks', plain],
    ['a narrow head', { ...plain, heads: 2, kvHeads: 2, width: 2 }],
  ])('has the bits of the packed forward at every position: %s', (_, sizes) => {
    const given = problem(sizes);
    const expected = tensors.bits(forward(given).out);
    const ascending = Array.from({ length: given.rows }, (__, n) => n);
    expectSameBits(tensors.bits(decode(given, ascending)), expected); // one prompt: blocks
    const width = sizes.heads * sizes.width;
    const backwards = tensors.bits(decode(given, ascending.toReversed())); // one row at a time
    for (const n of ascending) expectSameBits(backwards.slice((given.rows - 1 - n) * width, (given.rows - n) * width), expected.slice(n * width, (n + 1) * width));
    expectSameBits(tensors.bits(decode(given, ascending.slice(37))), expected.slice(37 * width)); // a prompt that goes on
  });

  it('gives a row the same bits alone as among others, at any number of threads', () => {
    const given = problem(plain);
    const width = plain.heads * plain.width;
    const alone = tensors.bits(decode(given, [64]));
    expectSameBits(tensors.bits(decode(given, [3, 64, 89])).slice(width, 2 * width), alone);
    const many = [3, 64, ...Array.from({ length: 20 }, (__, n) => n)]; // whole rows an item
    expectSameBits(tensors.bits(decode(given, many)).slice(width, 2 * width), alone);
    expectRepeatable(kernels, () => [tensors.bits(decode(given, [3, 64, 89]))], { across: 'threads' });
  });

  it('reads pages that slots have in common, and none behind the last that it needs', () => {
    const given = problem(plain);
    const positions = Array.from({ length: 21 }, (_, n) => n + 20); // by blocks, and one by one
    const pages = [...scattered];
    pages.splice(pagesASlot, pagesASlot, ...scattered.slice(2 * pagesASlot, 2 * pagesASlot + 3), ...new Array<number>(pagesASlot - 3).fill(39));
    for (const order of [positions, positions.toReversed()]) expectSameBits(tensors.bits(decode(given, order, { slot: 1, pages })), tensors.bits(decode(given, order)));
  });

  it('refuses a slot, position or page outside the cache', () => {
    const call = (slot: number, position: number, page = 0): string => codeOf(() =>
      kernels.attentionDecode(tensors.bf16([1, columns]), tensors.i32([1], [slot]), tensors.i32([1], [position]), tensors.i32([slots, pagesASlot], [...scattered.slice(1), page]),
        plain.heads, plain.kvHeads, tensors.bf16([40, page16]), tensors.bf16([40, page16]), tensors.bf16([1, plain.heads * plain.width])));
    expect(call(2, 207)).toBe('none');
    expect(call(3, 0)).toBe('kernels.bad_value');
    expect(call(-1, 0)).toBe('kernels.bad_value');
    expect(call(0, 208)).toBe('kernels.bad_value');
    expect(call(0, -1)).toBe('kernels.bad_value');
    expect(call(0, 0, 40)).toBe('kernels.bad_value');
    expect(call(0, 0, -1)).toBe('kernels.bad_value');
  });

  it('refuses pages of another size', () => {
    const cache = tensors.bf16([40, page16 - plain.width]);
    expect(codeOf(() => kernels.attentionDecode(tensors.bf16([1, columns]), tensors.i32([1], [0]), tensors.i32([1], [0]), tensors.i32([slots, pagesASlot]), plain.heads, plain.kvHeads,
      cache, cache, tensors.bf16([1, plain.heads * plain.width])))).toBe('kernels.bad_shape');
  });
});

describe('refusals', () => {
  interface Shapes {
    readonly cuSeqlens: readonly number[];
    readonly heads: number;
    readonly kvHeads: number;
    readonly outWidth: number;
    readonly lseHeads: number;
  }
  const right: Shapes = { cuSeqlens: [0, 2, 4], heads: 2, kvHeads: 1, outWidth: 32, lseHeads: 2 };

  function code(change: Partial<Shapes>): string {
    const shapes = { ...right, ...change };
    const arrays = [tensors.bf16([4, 64]), tensors.i32([shapes.cuSeqlens.length], shapes.cuSeqlens)] as const;
    const results = [tensors.bf16([4, shapes.outWidth]), tensors.f32([4, shapes.lseHeads])] as const;
    return codeOf(() => kernels.attentionForward(...arrays, shapes.heads, shapes.kvHeads, ...results));
  }

  it('accepts what is right', () => expect(code({})).toBe('none'));
  it.each([
    ['cumulative lengths that do not start at 0', { cuSeqlens: [1, 2, 4] }, 'kernels.bad_value'],
    ['cumulative lengths that fall', { cuSeqlens: [0, 3, 2, 4] }, 'kernels.bad_value'],
    ['cumulative lengths that end elsewhere', { cuSeqlens: [0, 2, 3] }, 'kernels.bad_value'],
    ['no cumulative lengths', { cuSeqlens: [] }, 'kernels.bad_shape'],
    ['heads that do not divide', { heads: 3, kvHeads: 2 }, 'kernels.bad_shape'],
    ['columns that are no heads', { heads: 9, kvHeads: 3 }, 'kernels.bad_shape'],
    ['an output of another width', { outWidth: 16 }, 'kernels.bad_shape'],
    ['a log-sum-exp of other heads', { lseHeads: 1 }, 'kernels.bad_shape'],
  ])('refuses %s', (_, change, expected) => expect(code(change)).toBe(expected));

  it('refuses another dtype and a freed tensor', () => {
    const [qkv, cuSeqlens, out, lse] = [tensors.bf16([4, 64]), tensors.i32([2], [0, 4]), tensors.bf16([4, 32]), tensors.f32([4, 2])];
    expect(codeOf(() => kernels.attentionForward(tensors.f32([4, 64]), cuSeqlens, 2, 1, out, lse))).toBe('kernels.bad_dtype');
    const gone = kernels.alloc('bf16', [4, 64]);
    kernels.free(gone);
    expect(codeOf(() => kernels.attentionForward(gone, cuSeqlens, 2, 1, out, lse))).toBe('kernels.bad_handle');
    expect(codeOf(() => kernels.attentionForward(qkv, cuSeqlens, 2, 1, out, lse))).toBe('none');
  });
});

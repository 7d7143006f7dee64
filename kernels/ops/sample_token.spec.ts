import { afterEach, describe, expect, it } from 'vitest';
import { philoxUniform, type PhiloxCounter, type PhiloxKey } from '../../src/common/philox.js';
import { codeOf, expectClose, expectRepeatable, normals } from '../../test/support/kernels/check.js';
import { logSoftmax, ranking } from '../../test/support/kernels/head-reference.js';
import { roundedToF32 } from '../../test/support/kernels/bf16.js';
import { Tensors } from '../../test/support/kernels/tensors.js';
import { loadKernels } from '../binding/kernels.js';

const kernels = loadKernels();
const tensors = new Tensors(kernels);
afterEach(() => tensors.dispose());

interface Row {
  readonly logits: ArrayLike<number>;
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly key: PhiloxKey;
  readonly counter: PhiloxCounter;
}

const PLAIN = { temperature: 1, topK: 0, topP: 1, key: [7, 1], counter: [0, 0, 0, 0] } as const;

function sample(rows: readonly Row[]): { ids: number[]; logProbs: Float64Array; bits: readonly [Int32Array, Float32Array] } {
  const [B, V] = [rows.length, rows[0]?.logits.length ?? 4];
  const [ids, logProbs] = [tensors.i32([B]), tensors.f32([B])];
  kernels.sampleToken(tensors.f32([B, V], rows.flatMap((row) => Array.from(row.logits))), tensors.f32([B], rows.map((row) => row.temperature)),
    tensors.i32([B], rows.map((row) => row.topK)), tensors.f32([B], rows.map((row) => row.topP)),
    tensors.i32([B, 2], rows.flatMap((row) => [...row.key])), tensors.i32([B, 4], rows.flatMap((row) => [...row.counter])), ids, logProbs);
  const bits = [Int32Array.from(tensors.values(ids)), Float32Array.from(tensors.values(logProbs))] as const;
  return { ids: [...bits[0]], logProbs: tensors.values(logProbs), bits };
}

/** The probabilities that the row's settings leave, in float64. */
function keptProbabilities({ logits, temperature, topK, topP }: Row): Float64Array {
  const probabilities = logSoftmax(logits, temperature).map(Math.exp);
  const ranked = ranking(logits).slice(0, topK > 0 ? topK : logits.length);
  const whole = ranked.reduce((sum, id) => sum + probabilities[id], 0);
  const kept = new Float64Array(logits.length);
  let mass = 0;
  for (const id of ranked) {
    kept[id] = probabilities[id];
    mass += probabilities[id];
    if (mass >= Math.fround(topP) * whole && topP < 1) break;
  }
  return kept.map((probability) => probability / mass);
}

/** The first id in ascending order at which the running probability exceeds the uniform. */
function drawReference(row: Row): number {
  if (row.temperature === 0) return ranking(row.logits)[0];
  const uniform = philoxUniform(row.key, row.counter);
  let running = 0;
  return keptProbabilities(row).findIndex((probability) => (running += probability) > uniform);
}

const SETTINGS = [
  { temperature: 1, topK: 0, topP: 1 },
  { temperature: 0.7, topK: 0, topP: 1 },
  { temperature: 1.3, topK: 20, topP: 1 },
  { temperature: 1, topK: 0, topP: 0.9 },
  { temperature: 2, topK: 0, topP: 0.999 },
  { temperature: 0.8, topK: 50, topP: 0.8 },
  { temperature: 1, topK: 1, topP: 0.5 },
  { temperature: 0, topK: 0, topP: 1 },
  { temperature: 1, topK: 100_000, topP: 0.3 },
];

describe.each([1, 5, 16, 1000, 2500])('sample_token over %i ids', (V) => {
  const logits = roundedToF32(normals(V, V, 2));
  const rows = SETTINGS.flatMap((settings, s) => Array.from({ length: 60 }, (_, n): Row =>
    ({ ...settings, logits, key: [s * 1000 + n, 0xfedcba98], counter: [n, 2 ** 31 - 1 - n, 3, 2] })));

  it('draws the ids and log-probs of the float64 reference for every setting', () => {
    const { ids, logProbs } = sample(rows);
    expect(ids).toEqual(rows.map(drawReference));
    const untempered = logSoftmax(logits);
    expectClose(logProbs, ids.map((id) => untempered[id]), { relative: 1e-6, absolute: 1e-6 });
  });
});

describe('sample_token', () => {
  it('draws from the published Philox vectors', () => {
    const even = new Float32Array(65536); // all ids equally probable: the id is the upper 16 bits of the first word
    const pi = { key: [0xa4093822, 0x299f31d0], counter: [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344] } as const;
    const ones = { key: [0xffffffff, 0xffffffff], counter: [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff] } as const;
    const zeros = { key: [0, 0], counter: [0, 0, 0, 0] } as const;
    expect(sample([zeros, ones, pi].map((words) => ({ ...PLAIN, ...words, logits: even }))).ids).toEqual([0x6627, 0x408f, 0xd16c]);
  });

  it('keeps the smaller ids at a tie on the threshold', () => {
    const drawn = (settings: object): number[] =>
      sample(Array.from({ length: 200 }, (_, n) => ({ ...PLAIN, counter: [n, 0, 0, 0] as const, ...settings, logits: [1, 2, 1, 1, 2, 1] }))).ids;
    expect(new Set(drawn({ topK: 3 }))).toEqual(new Set([0, 1, 4]));
    expect(new Set(drawn({ topP: 0.6 }))).toEqual(new Set([0, 1, 4])); // masses 0.287, 0.287, then 0.106 a piece
    expect(new Set(drawn({ topP: 1e-6 }))).toEqual(new Set([1]));
    expect(new Set(drawn({ temperature: 0 }))).toEqual(new Set([1]));
  });

  it('draws each id as often as its probability says', () => {
    const logits = roundedToF32(normals(12, 5));
    const draws = 20_000;
    const { ids } = sample(Array.from({ length: draws }, (_, n) => ({ ...PLAIN, logits, counter: [n, 0, 0, 0] })));
    const shares = logits.map((_, id) => ids.filter((drawn) => drawn === id).length / draws);
    expectClose(shares, logSoftmax(logits).map(Math.exp), { absolute: 4 * Math.sqrt(0.25 / draws) });
  });

  it('never draws an id without weight', () => {
    const logits = Array.from({ length: 40 }, (_, id) => (id === 17 || id === 31 ? 0 : -500));
    const { ids } = sample(Array.from({ length: 300 }, (_, n) => ({ ...PLAIN, temperature: 0.01, logits, counter: [n, 0, 0, 0] })));
    expect(new Set(ids)).toEqual(new Set([17, 31]));
  });

  it('gives a row the same bits alone as among others, at any number of threads', () => {
    const rows = SETTINGS.map((settings, n): Row => ({ ...PLAIN, ...settings, logits: roundedToF32(normals(700, n, 3)), counter: [n, 1, 2, 3] }));
    const together = sample(rows);
    rows.forEach((row, n) => expect(sample([row]).bits).toEqual([together.bits[0].slice(n, n + 1), together.bits[1].slice(n, n + 1)]));
    expectRepeatable(kernels, () => sample(rows).bits, { across: 'threads' });
  });

  it('draws an id of the vocabulary, with no log-prob, from logits that are no numbers', () => {
    const { ids, logProbs } = sample([{ ...PLAIN, logits: new Array<number>(2000).fill(NaN) }]);
    expect([ids, ...logProbs]).toEqual([[0], NaN]);
  });

  it('does nothing for no rows', () => expect(sample([]).ids).toEqual([]));

  it.each([
    [{ temperature: -1 }], [{ temperature: NaN }], [{ temperature: Infinity }], [{ topK: -1 }], [{ topP: 0 }], [{ topP: 1.01 }], [{ topP: NaN }],
  ])('refuses %o', (change) => expect(codeOf(() => sample([{ ...PLAIN, logits: [0, 1], ...change }]))).toBe('kernels.bad_value'));

  it('refuses a vocabulary of no ids', () => expect(codeOf(() => sample([{ ...PLAIN, logits: [] }]))).toBe('kernels.bad_shape'));
});

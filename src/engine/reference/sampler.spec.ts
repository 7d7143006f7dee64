import { describe, expect, it } from 'vitest';
import { drawToken, rankIds } from './sampler.js';

const LOG = (...probabilities: number[]): Float64Array => Float64Array.from(probabilities, Math.log);
const PLAIN = { temperature: 1, topK: 0, topP: 1 };

describe('drawToken', () => {
  it.each([
    [0, 0],
    [0.0999, 0],
    [0.1001, 1],
    [0.2999, 1],
    [0.3001, 2],
    [0.7001, 3],
    [1 - 2 ** -24, 3],
  ])('inverts the cumulative probability of ascending ids at %d', (uniform, id) => {
    expect(drawToken(LOG(0.1, 0.2, 0.4, 0.3), PLAIN, uniform)).toBe(id);
  });

  it('takes the most probable id, the smaller among equals, at temperature 0', () => {
    expect(drawToken(LOG(0.1, 0.35, 0.2, 0.35), { ...PLAIN, temperature: 0 }, 0.99)).toBe(1);
  });

  it('divides logits by the temperature', () => {
    // At temperature 1/2 the odds 1 : 3 become 1 : 9.
    expect(drawToken(LOG(0.25, 0.75), { ...PLAIN, temperature: 0.5 }, 0.099)).toBe(0);
    expect(drawToken(LOG(0.25, 0.75), { ...PLAIN, temperature: 0.5 }, 0.101)).toBe(1);
  });

  it('keeps the k most probable ids and rescales them', () => {
    // 0.4 and 0.3 are left, with 4/7 below id 3.
    expect(drawToken(LOG(0.1, 0.2, 0.4, 0.3), { ...PLAIN, topK: 2 }, 0)).toBe(2);
    expect(drawToken(LOG(0.1, 0.2, 0.4, 0.3), { ...PLAIN, topK: 2 }, 0.57)).toBe(2);
    expect(drawToken(LOG(0.1, 0.2, 0.4, 0.3), { ...PLAIN, topK: 2 }, 0.572)).toBe(3);
  });

  it('keeps the smallest set of most probable ids that reaches topP', () => {
    const cut = { ...PLAIN, topP: 0.6 };
    expect(drawToken(LOG(0.1, 0.2, 0.4, 0.3), cut, 0)).toBe(2);
    expect(drawToken(LOG(0.1, 0.2, 0.4, 0.3), cut, 0.999)).toBe(3);
    expect(drawToken(LOG(0.1, 0.2, 0.4, 0.3), { ...PLAIN, topP: 1e-9 }, 0.999)).toBe(2);
  });

  it('measures topP on what topK left', () => {
    // Of 0.4 and 0.3 the first holds 0.571 of the mass left, enough for 0.55 though not for 0.55 of the whole.
    expect(drawToken(LOG(0.1, 0.2, 0.4, 0.3), { temperature: 1, topK: 2, topP: 0.55 }, 0.999)).toBe(2);
  });
});

describe('rankIds', () => {
  it('puts the larger value first and the smaller id among equals', () => {
    expect(rankIds(Float64Array.of(1, 3, 2, 3))).toEqual([1, 3, 2, 0]);
  });
});

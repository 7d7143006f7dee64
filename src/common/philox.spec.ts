import { describe, expect, it } from 'vitest';
import { drawUniform, drawWords, philox4x32, philoxUniform } from './philox.js';

const ONES = 0xffffffff;

describe('philox4x32', () => {
  // kat_vectors of Random123 1.14, lines "philox4x32 10".
  it.each([
    { key: [0, 0], counter: [0, 0, 0, 0], words: [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8] },
    { key: [ONES, ONES], counter: [ONES, ONES, ONES, ONES], words: [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd] },
    {
      key: [0xa4093822, 0x299f31d0],
      counter: [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
      words: [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
    },
  ] as const)('gives the published words for key $key', ({ key, counter, words }) => {
    expect(philox4x32(key, counter)).toEqual(words);
  });
});

describe('philoxUniform', () => {
  it('is the upper 24 bits of the first word', () => {
    expect(philoxUniform([0, 0], [0, 0, 0, 0])).toBe(0x6627e8 / 2 ** 24);
  });

  it('is spread evenly over [0, 1)', () => {
    const draws = Array.from({ length: 20_000 }, (_, position) => drawUniform({ seed: 3, stage: 1, step: 2, sample: 0, position }));
    const deciles = new Array<number>(10).fill(0);
    for (const draw of draws) deciles[Math.floor(draw * 10)]++;
    // Each count is binomial(20000, 0.1) with a deviation of 42; the draws are fixed, so this cannot fail by chance.
    for (const count of deciles) expect(Math.abs(count - 2000)).toBeLessThan(210);
  });
});

describe('drawWords', () => {
  it('splits the seed into two key words and orders the counter as position, sample, step, stage', () => {
    const words = drawWords({ seed: 2 ** 33 + 2 ** 31 + 5, stage: 4, step: 3, sample: 2, position: 1 });
    expect(words).toEqual({ key: [2 ** 31 + 5, 2], counter: [1, 2, 3, 4] });
  });
});

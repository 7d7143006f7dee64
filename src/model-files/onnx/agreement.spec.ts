import { describe, expect, it } from 'vitest';
import { judgeAgreement, type CandidatePosition, type ReferencePosition } from './agreement.js';

const SURE: ReferencePosition = { actualLogProb: -1, greedyId: 4, greedyGap: 0.5 };
const TORN: ReferencePosition = { actualLogProb: -1, greedyId: 4, greedyGap: 0.09 };

function near({ actualLogProb, greedyId }: ReferencePosition, by: number): CandidatePosition {
  return { actualLogProb: actualLogProb + by, greedyId };
}

describe('the agreement rule', () => {
  it('accepts a mean of 0.02 and a largest difference of 0.2, and reports both', () => {
    const reference = new Array<ReferencePosition>(20).fill({ ...SURE, actualLogProb: 0 });
    const candidate = reference.map((position, i) => near(position, i === 3 ? -0.2 : i < 8 ? 0.02 : 0));
    const { meanAbs, maxAbs, ...rest } = judgeAgreement(reference, candidate);
    expect(meanAbs).toBeCloseTo((0.2 + 7 * 0.02) / 20, 12);
    expect(maxAbs).toBe(0.2);
    expect(rest).toEqual({ positions: 20, greedyDifferences: 0, forbiddenDifferences: 0, agrees: true });
  });

  it('refuses a larger mean, and a single larger difference', () => {
    const reference = new Array<ReferencePosition>(100).fill(SURE);
    expect(judgeAgreement(reference, reference.map((position) => near(position, 0.021))).agrees).toBe(false);
    expect(judgeAgreement(reference, reference.map((position, i) => near(position, i === 50 ? 0.21 : 0))).agrees).toBe(false);
  });

  it('lets the greedy id differ only where the reference is torn', () => {
    const torn = judgeAgreement([SURE, TORN], [near(SURE, 0), { ...near(TORN, 0), greedyId: 9 }]);
    expect(torn).toMatchObject({ greedyDifferences: 1, forbiddenDifferences: 0, agrees: true });
    const sure = judgeAgreement([SURE, TORN], [{ ...near(SURE, 0), greedyId: 9 }, near(TORN, 0)]);
    expect(sure).toMatchObject({ greedyDifferences: 1, forbiddenDifferences: 1, agrees: false });
    const edge = { ...TORN, greedyGap: 0.1 };
    expect(judgeAgreement([edge], [{ ...near(edge, 0), greedyId: 9 }]).agrees).toBe(false);
  });

  it('never accepts what is not a number, missing, or nothing at all', () => {
    expect(judgeAgreement([SURE], [{ actualLogProb: Number.NaN, greedyId: 4 }]).agrees).toBe(false);
    expect(judgeAgreement([SURE, SURE], [near(SURE, 0)]).agrees).toBe(false);
    expect(judgeAgreement([SURE], [near(SURE, 0), near(SURE, 0)]).agrees).toBe(false);
    expect(judgeAgreement([], []).agrees).toBe(false);
  });
});

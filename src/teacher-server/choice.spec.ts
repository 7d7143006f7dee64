import { describe, expect, it } from 'vitest';
import { chooseId, drawNeeds, type RowView } from './choice.js';

// Probabilities 0.5, 0.3, 0.15, 0.05 of ids 9, 2, 4, 1, best first; the runtime's own draw is id 4.
const PROBABILITIES = [0.5, 0.3, 0.15, 0.05];
const IDS = [9, 2, 4, 1];
const LOG_SUM = 3;

function view(): RowView {
  const topLogits = PROBABILITIES.map((p) => Math.log(p) + LOG_SUM);
  return {
    index: 1,
    k: 4,
    rows: {
      topIds_RK: Int32Array.from([0, 0, 0, 0, ...IDS]),
      topLogits_RK: Float32Array.from([0, 0, 0, 0, ...topLogits]),
      labelLogits_R: new Float32Array(2),
      labelRanks_R: new Int32Array(2),
      logSumExp_R: Float32Array.of(0, LOG_SUM),
      sampledIds_R: Int32Array.of(0, 4),
      sampledLogits_R: Float32Array.of(0, topLogits[2]),
    },
  };
}

const FREE = { temperature: 1, topP: 1, topK: 0 };

/** The ids drawn at uniforms 0, 1/steps, …, in order and without repetition, with the share of uniforms each got. */
function shares(sampling: typeof FREE): [number, number][] {
  const steps = 10_000;
  const counts = new Map<number, number>();
  for (let i = 0; i < steps; i++) {
    const { id } = chooseId(view(), sampling, i / steps);
    counts.set(id, (counts.get(id) ?? 0) + 1);
  }
  return [...counts].map(([id, count]) => [id, Math.round((count / steps) * 1000) / 1000]);
}

describe('chooseId', () => {
  it('takes the best at temperature 0', () => {
    expect(chooseId(view(), { ...FREE, temperature: 0 }, 0.99).id).toBe(9);
  });

  it("takes the runtime's draw when nothing is cut off", () => {
    const chosen = chooseId(view(), FREE, 0.99);
    expect(chosen.id).toBe(4);
    expect(chosen.logProb).toBeCloseTo(Math.log(0.15), 6);
  });

  it.each([
    { name: 'top 2', sampling: { ...FREE, topK: 2 }, expected: [[2, 0.375], [9, 0.625]] },
    { name: 'a nucleus that ends inside an id', sampling: { ...FREE, topP: 0.9 }, expected: [[2, 0.316], [4, 0.158], [9, 0.526]] },
    { name: 'a nucleus that ends at an id', sampling: { ...FREE, topP: 0.79 }, expected: [[2, 0.375], [9, 0.625]] },
    { name: 'a nucleus within the top 3', sampling: { ...FREE, topK: 3, topP: 0.6 }, expected: [[2, 0.375], [9, 0.625]] },
    // 0.25 : 0.09 : 0.0225 : 0.0025 at temperature 1/2.
    { name: 'the top 2 at temperature 1/2', sampling: { temperature: 0.5, topK: 2, topP: 1 }, expected: [[2, 0.265], [9, 0.735]] },
    { name: 'a nucleus at temperature 1/2', sampling: { temperature: 0.5, topK: 0, topP: 0.9 }, expected: [[2, 0.265], [9, 0.735]] },
    { name: 'a nucleus of one id', sampling: { ...FREE, topP: 0.4 }, expected: [[9, 1]] },
  ])('draws from $name in ascending order of ids', ({ sampling, expected }) => {
    expect(shares(sampling)).toEqual(expected);
  });

  it('gives the log-prob before truncation and temperature', () => {
    expect(chooseId(view(), { temperature: 0.5, topK: 2, topP: 1 }, 0).logProb).toBeCloseTo(Math.log(0.3), 6);
  });
});

describe('drawNeeds', () => {
  it.each([
    { name: 'nothing for the best', sampling: { ...FREE, temperature: 0, topP: 0.5 }, needs: { temperature: 1, isFree: false, k: 1 } },
    { name: 'nothing for a free draw', sampling: { ...FREE, temperature: 0.7 }, needs: { temperature: 0.7, isFree: true, k: 1 } },
    { name: 'k ids for the top k', sampling: { ...FREE, topK: 50 }, needs: { temperature: 1, isFree: false, k: 50 } },
    { name: 'every id for a nucleus', sampling: { ...FREE, topP: 0.9 }, needs: { temperature: 1, isFree: false, k: 1000 } },
    { name: 'no temperature below the coldest', sampling: { ...FREE, temperature: 0.001 }, needs: { temperature: 0.01, isFree: true, k: 1 } },
  ])('asks for $name', ({ sampling, needs }) => {
    expect(drawNeeds(sampling, 1000)).toEqual(needs);
  });
});

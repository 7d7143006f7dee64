import { expect, test } from 'vitest';
import type { Engine, ScoreRequest } from '../engine/engine.js';
import type { TargetBlock } from '../tokens/target.js';
import { checkInterchange, type InterchangeRunner } from './interchange-check.js';

const PROMPTS = [Int32Array.of(1, 2), Int32Array.of(3)];
const STOP = 9;

/** A reference that says 5, 6, … with log-prob -1, and the stop id at `end`; it goes on behind it, where nothing is to be read. */
function reference(end: number): InterchangeRunner {
  return ({ tasks }) => Promise.resolve(tasks.map((task) => {
    const tokens = 'tokens' in task ? task.tokens : 0;
    const said = Array.from({ length: tokens }, (_, t) => (t === end ? STOP : 5 + (t % 3)));
    return { ids_T: Int32Array.of(...task.ids_T, ...said), positions: said.map((id) => ({ actualLogProb: -1, greedyId: id, greedyGap: 3 })) };
  }));
}

/** An engine that agrees up to `end` in every answer and says something else behind it. */
function engine(end: number, seen: ScoreRequest[]): Engine {
  async function* score(request: ScoreRequest): AsyncGenerator<TargetBlock> {
    await Promise.resolve();
    seen.push(request);
    for (const [index, { ids_T, from }] of request.sequences.entries()) {
      const actual = [...ids_T.subarray(from)];
      const rows = actual.map((id, t) => ({ id: t <= end ? id : id + 1, logProb: t <= end ? -1.01 : -4 }));
      yield {
        index, offsets_R1: Int32Array.from({ length: rows.length + 1 }, (_, r) => r), ids_S: Int32Array.from(rows, ({ id }) => id), logProbs_S: Float32Array.from(rows, ({ logProb }) => logProb),
        actualLogProbs_R: Float32Array.from(rows, ({ logProb }) => logProb), tail_R: new Float32Array(rows.length),
      } as TargetBlock;
    }
  }
  return { score, describe: () => Promise.resolve({ threads: 1, maxPositions: 64 }) } as unknown as Engine;
}

test('compares answers up to the id that ends them, that id included', async () => {
  const seen: ScoreRequest[] = [];
  const agreement = await checkInterchange({ engine: engine(6, seen), run: reference(6), modelPath: 'model.onnx', prompts: PROMPTS, stopIds: [STOP] });
  expect(agreement).toMatchObject({ positions: 14, greedyDifferences: 0, agrees: true });
  expect(agreement.meanAbs).toBeCloseTo(0.01, 6);
  expect(seen[0].sequences.map(({ ids_T, from }) => [ids_T.length, from])).toEqual([[9, 2], [8, 1]]);
});

test('compares all 32 ids of an answer that does not end', async () => {
  const whole = { engine: engine(31, []), run: reference(-1), modelPath: 'model.onnx', prompts: PROMPTS, stopIds: [STOP] };
  await expect(checkInterchange(whole)).resolves.toMatchObject({ positions: 64, agrees: true });
});

test('refuses a model that disagrees before its answer ends', async () => {
  const apart = { engine: engine(4, []), run: reference(6), modelPath: 'model.onnx', prompts: PROMPTS, stopIds: [STOP] };
  await expect(checkInterchange(apart)).rejects.toMatchObject({ code: 'distillation.export_disagrees', message: expect.stringContaining('over 14 tokens') as string });
});

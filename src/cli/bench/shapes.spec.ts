import { expect, it } from 'vitest';
import { ModelDirectory, toFloat32 } from '../../model-files/model-directory.js';
import { parameterCount } from '../../model-files/parameters.js';
import { useScratchDir } from '../../../test/support/scratch-dir.js';
import { SHAPES, writeRandomModel } from './shapes.js';

const scratch = useScratchDir();

it('has the sizes of the models it is named after', () => {
  expect(parameterCount(SHAPES['smollm2-135m'])).toBe(134_515_008);
  expect(parameterCount(SHAPES['smollm2-360m'])).toBe(361_821_120);
  expect(parameterCount(SHAPES['qwen3-0.6b'])).toBe(596_049_920);
});

it('writes weights of deviation 1/sqrt(fan in), norms of 1 and the same bits every time', async () => {
  const config = { ...SHAPES['smollm2-135m'], vocabSize: 512, layers: 1 };
  const dirs = await Promise.all(['a', 'b'].map((name) => writeRandomModel(config, scratch(name))));
  const [first, second] = await Promise.all(dirs.map(async (dir) => {
    const model = await ModelDirectory.open(dir);
    const [embedding, norm] = await Promise.all(['model.embed_tokens.weight', 'model.norm.weight'].map(async (name) => toFloat32(await model.tensor(name))));
    await model.close();
    return { embedding, norm };
  }));
  const deviation = Math.sqrt(first.embedding.reduce((sum, value) => sum + value * value, 0) / first.embedding.length);
  expect(deviation * Math.sqrt(576)).toBeCloseTo(1, 1);
  expect(first.norm.every((value) => value === 1)).toBe(true);
  expect(second).toEqual(first);
});

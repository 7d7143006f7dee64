import { expect, it } from 'vitest';
import { GOLDEN_MODELS, readGolden } from '../golden/golden-file.js';
import { Float64Llama } from './float64-llama.js';

it.each(GOLDEN_MODELS)('computes what transformers computes in float64 for the golden model %s', async (name) => {
  const { modelDir, batch, logits_NV } = await readGolden(name);
  const llama = await Float64Llama.open(modelDir);
  const starts = [...batch.cuSeqlens_S1];
  const logits = starts.slice(1).flatMap((end, s) => llama.logits([...batch.tokens_N.subarray(starts[s], end)])).flat();
  expect(logits).toHaveLength(logits_NV.length);
  expect(Math.max(...logits.map((logit, at) => Math.abs(logit - logits_NV[at])))).toBeLessThan(1e-12);
});

import { drawUniform } from '../../common/philox.js';
import type { Sampling } from '../../tokens/sample.js';
import type { Completion, RandomKey, SamplePrompt } from '../engine.js';
import type { Decoder } from './decoder.js';
import { logSoftmax } from './losses.js';
import { Tape } from './tape.js';

/**
 * The id drawn from a row of logits: divided by the temperature, cut to the `topK` most probable and then to the smallest set of most probable ids whose
 * share of what is left reaches `topP`, and inverted: the first id, ascending, at which the cumulative probability exceeds `uniform` in [0, 1). Temperature
 * 0 takes the most probable. Among equals the smaller id comes first.
 */
export function drawToken(logits_V: Float64Array, sampling: Pick<Sampling, 'temperature' | 'topK' | 'topP'>, uniform: number): number {
  const ranked = rankIds(logits_V);
  if (sampling.temperature === 0) return ranked[0];
  const probability_V = logSoftmax(logits_V.map((z) => z / sampling.temperature)).map(Math.exp);
  const head = sampling.topK > 0 ? ranked.slice(0, sampling.topK) : ranked;
  const kept = nucleus(head, probability_V, sampling.topP).sort((a, b) => a - b);
  const total = kept.reduce((sum, id) => sum + probability_V[id], 0);
  let cumulative = 0;
  for (const id of kept) {
    cumulative += probability_V[id];
    if (cumulative > uniform * total) return id;
  }
  return kept[kept.length - 1];
}

/** Ids by falling value, equal ones by rising id. */
export function rankIds(values_V: Float64Array): number[] {
  // Sorting is stable, so equal values keep the order of their ids.
  return Array.from(values_V.keys()).sort((a, b) => values_V[b] - values_V[a]);
}

function nucleus(ranked: number[], probability_V: Float64Array, topP: number): number[] {
  if (topP >= 1) return ranked;
  const total = ranked.reduce((sum, id) => sum + probability_V[id], 0);
  let mass = 0;
  const last = ranked.findIndex((id) => (mass += probability_V[id]) >= topP * total);
  return last < 0 ? ranked : ranked.slice(0, last + 1);
}

/** Writes one completion token by token; `turn` runs before each and may throw to stop. */
export async function complete(
  decoder: Decoder,
  what: { readonly prompt: SamplePrompt; readonly index: number; readonly sampling: Sampling; readonly key: RandomKey },
  turn: () => Promise<void>,
): Promise<Completion> {
  const { prompt, index, sampling, key } = what;
  const ids = [...prompt.ids_T];
  const logProbs: number[] = [];
  for (let position = 0; position < sampling.maxTokens; position++) {
    await turn();
    const packed = { tokens_N: Int32Array.from(ids), cuSeqlens_S1: Int32Array.of(0, ids.length) };
    const logits_V = decoder.logits(new Tape(), packed, Int32Array.of(ids.length - 1)).values;
    const id = drawToken(logits_V, sampling, drawUniform({ ...key, sample: prompt.sample, position }));
    ids.push(id);
    logProbs.push(logSoftmax(logits_V)[id]);
    if (sampling.stopIds.includes(id)) break;
  }
  const finish = sampling.stopIds.includes(ids[ids.length - 1]) ? 'stop' : 'length';
  return { index, ids_T: Int32Array.from(ids.slice(prompt.ids_T.length)), logProbs_T: Float32Array.from(logProbs), finish };
}

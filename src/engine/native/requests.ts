import type { ModelConfig } from '../../model-files/config.js';
import type { TokenIds } from '../../tokens/sample.js';
import { RequestInvalid, type SampleRequest, type ScoreRequest } from '../engine.js';

/** @throws RequestInvalid naming the first broken rule. */
export function checkSampleRequest({ prompts, sampling, key }: SampleRequest, config: ModelConfig): void {
  const { temperature, topP, topK, maxTokens, stopIds } = sampling;
  need(temperature >= 0 && temperature < Infinity, `temperature is ${temperature}; it must be finite and >= 0`);
  need(topP > 0 && topP <= 1, `topP is ${topP}; it must lie in (0, 1]`);
  need(Number.isInteger(topK) && topK >= 0, `topK is ${topK}; it must be an integer >= 0`);
  need(Number.isInteger(maxTokens) && maxTokens >= 1, `maxTokens is ${maxTokens}; it must be an integer >= 1`);
  for (const id of stopIds) need(id >= 0 && id < config.vocabSize, `stop id ${id} is outside [0, ${config.vocabSize})`);
  need(Number.isSafeInteger(key.seed) && key.seed >= 0, `seed is ${key.seed}; it must be an integer in [0, 2^53)`);
  needWord('stage', key.stage, 2 ** 16);
  needWord('step', key.step, 2 ** 31);
  for (const [index, { ids_T, sample }] of prompts.entries()) {
    needWord(`prompt ${index}: sample`, sample, 2 ** 31);
    checkIds(ids_T, config, `prompt ${index}`);
    const longest = ids_T.length + maxTokens;
    need(longest <= config.maxPositions, `prompt ${index} and its completion can reach ${longest} tokens; this model has ${config.maxPositions} positions`);
  }
}

/** @throws RequestInvalid naming the first broken rule. */
export function checkScoreRequest({ sequences, k }: ScoreRequest, config: ModelConfig): void {
  need(Number.isInteger(k) && k >= 1 && k <= config.vocabSize, `k is ${k}; it must be an integer in [1, ${config.vocabSize}]`);
  for (const [index, { ids_T, from }] of sequences.entries()) {
    checkIds(ids_T, config, `sequence ${index}`);
    need(Number.isInteger(from) && from >= 1 && from <= ids_T.length, `sequence ${index}: from is ${from}; it must be an integer in [1, ${ids_T.length}]`);
    need(ids_T.length <= config.maxPositions, `sequence ${index} has ${ids_T.length} tokens; this model has ${config.maxPositions} positions`);
  }
}

function checkIds(ids_T: TokenIds, { vocabSize }: ModelConfig, where: string): void {
  need(ids_T.length > 0, `${where} is empty; it needs at least one token`);
  const at = ids_T.findIndex((id) => id < 0 || id >= vocabSize);
  need(at < 0, `${where}: id ${ids_T[at]} at ${at} is outside [0, ${vocabSize})`);
}

function needWord(what: string, value: number, limit: number): void {
  need(Number.isInteger(value) && value >= 0 && value < limit, `${what} is ${value}; it must be an integer in [0, ${limit})`);
}

function need(holds: boolean, message: string): void {
  if (!holds) throw new RequestInvalid(message);
}

import { expect, it } from 'vitest';
import { slopeOf } from '../support/process-figures.js';
import { soak, type SoakSample } from './soak.js';

const RUNS = 200;
/** The first runs fill pools, caches and compiled code. */
const SETTLED = RUNS / 2;
const SLOPE_MOST_KIB = 50;

const table = (samples: readonly SoakSample[]): string =>
  samples
    .filter((_, run) => run % 10 === 9)
    .map((sample, place) => `after ${place * 10 + 10} runs: ${Object.entries(sample).map(([name, value]) => `${name} ${value}`).join(', ')}`)
    .join('\n');

it(`API and worker hold after ${RUNS} runs what they held after ${SETTLED}`, { timeout: 7_200_000 }, async () => {
  const samples = await soak(RUNS);
  const last = samples.slice(SETTLED);
  const slopes = { api: slopeOf(last.map(({ apiKib }) => apiKib)), worker: slopeOf(last.map(({ workerKib }) => workerKib)) };
  console.log(`${table(samples)}\nRSS over the last ${last.length} runs, KiB a run: API ${slopes.api.toFixed(1)}, worker ${slopes.worker.toFixed(1)}`);

  expect(slopes.api).toBeLessThanOrEqual(SLOPE_MOST_KIB);
  expect(slopes.worker).toBeLessThanOrEqual(SLOPE_MOST_KIB);
  for (const held of ['apiHandles', 'workerHandles', 'connections'] as const) expect(Math.abs(slopeOf(last.map((sample) => sample[held]))), held).toBeLessThan(0.02);
  expect(last.every(({ engines }) => engines === 0)).toBe(true);
});

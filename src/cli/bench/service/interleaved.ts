import { median } from '../median.js';

/** Takes both figures in turns, so that drift of the machine falls on both. @returns the medians of `rounds` turns, after one turn that is not counted. */
export async function interleaved(rounds: number, ours: () => Promise<number>, limit: () => Promise<number>): Promise<{ readonly ours: number; readonly limit: number }> {
  await ours();
  await limit();
  const taken = { ours: [] as number[], limit: [] as number[] };
  for (let round = 0; round < rounds; round++) {
    taken.ours.push(await ours());
    taken.limit.push(await limit());
  }
  return { ours: median(taken.ours), limit: median(taken.limit) };
}

/** Milliseconds that the work takes. */
export async function milliseconds(work: () => Promise<unknown>): Promise<number> {
  const begin = performance.now();
  await work();
  return performance.now() - begin;
}

/** Runs `work` for 0 to `count - 1`, `lanes` at a time. @returns how many were done in a second. */
export async function perSecond(count: number, lanes: number, work: (item: number, lane: number) => Promise<unknown>): Promise<number> {
  let next = 0;
  const lane = async (number: number): Promise<void> => {
    while (next < count) await work(next++, number);
  };
  const ms = await milliseconds(() => Promise.all(Array.from({ length: lanes }, (_, number) => lane(number))));
  return (1000 * count) / ms;
}

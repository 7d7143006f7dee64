import { median } from './median.js';

/** Does the works in turn, `rounds` times, so that drift of the machine falls on all. An unmeasured round comes first. @returns seconds of each work, by round. */
export function inTurns(rounds: number, works: readonly (() => void)[]): number[][] {
  for (const work of works) work();
  const seconds: number[][] = works.map(() => []);
  for (let round = 0; round < rounds; round++) works.forEach((work, index) => seconds[index].push(secondsOf(work)));
  return seconds;
}

/** Seconds that the work takes. */
export function secondsOf(work: () => void): number {
  const begin = performance.now();
  work();
  return (performance.now() - begin) / 1000;
}

/** Seconds until the promise of the work is kept. */
export async function secondsUntil(work: () => Promise<unknown>): Promise<number> {
  const begin = performance.now();
  await work();
  return (performance.now() - begin) / 1000;
}

/** Medians of `inTurns`, by work. */
export function mediansInTurns(rounds: number, works: readonly (() => void)[]): number[] {
  return inTurns(rounds, works).map(median);
}

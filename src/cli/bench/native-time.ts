import type { Kernels } from '../../../kernels/binding/kernels.js';

/** What native calls took since `reset`. */
export interface NativeTime {
  /** Inside native calls, seconds. */
  seconds(): number;
  reset(): void;
}

/** How often and when one native call ended, milliseconds of `performance.now()`. */
export type Ends = number[];

/**
 * Puts a clock around every native call of this process, the engine's too: they share one object. Costs about a tenth of a microsecond a call, which counts
 * as time outside. @param watched operations whose ends are noted in order.
 */
export function clockNativeCalls(kernels: Kernels, watched: Partial<Record<keyof Kernels, Ends>> = {}): NativeTime {
  let milliseconds = 0;
  const table = kernels as unknown as Record<string, unknown>;
  for (const [name, operation] of Object.entries(table)) {
    if (!isOperation(operation)) continue; // what is only rehearsed belongs to the planning around the calls
    const ends = watched[name as keyof Kernels];
    table[name] = (...args: unknown[]) => {
      const begin = performance.now();
      try {
        return operation(...args);
      } finally {
        const end = performance.now();
        milliseconds += end - begin;
        ends?.push(end);
      }
    };
  }
  return { seconds: () => milliseconds / 1000, reset: () => void (milliseconds = 0) };
}

function isOperation(value: unknown): value is (...args: unknown[]) => unknown {
  return typeof value === 'function';
}

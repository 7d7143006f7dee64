import { vi } from 'vitest';

/** The largest lengths asked for while something ran. */
export interface Allocations {
  /** Bytes of a Uint8Array, values of a Float32Array, items of a list made from a length. */
  uint8: number;
  float32: number;
  items: number;
}

/** Runs `work` and notes what arrays it, or what runs meanwhile, makes from a length. */
export async function watchedAllocations(work: () => Promise<void>): Promise<Allocations> {
  const most: Allocations = { uint8: 0, float32: 0, items: 0 };
  const note = (kind: keyof Allocations, length: unknown): void => {
    if (typeof length === 'number') most[kind] = Math.max(most[kind], length);
  };
  const from = Array.from.bind(Array) as (...args: unknown[]) => unknown[];
  vi.stubGlobal('Uint8Array', new Proxy(Uint8Array, { construct: (target, args, created) => (note('uint8', args[0]), Reflect.construct(target, args, created) as Uint8Array) }));
  vi.stubGlobal('Float32Array', new Proxy(Float32Array, { construct: (target, args, created) => (note('float32', args[0]), Reflect.construct(target, args, created) as Float32Array) }));
  vi.stubGlobal('Array', new Proxy(Array, {
    get: (target, key) => (key === 'from' ? (source: object, ...rest: unknown[]) => (note('items', 'length' in source ? source.length : 0), from(source, ...rest)) : (Reflect.get(target, key) as unknown)),
  }));
  try {
    await work();
  } finally {
    vi.unstubAllGlobals();
  }
  return most;
}

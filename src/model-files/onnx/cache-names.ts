import type { Value } from './graph-builder.js';

/** The two tensors a layer keeps of each position. */
export interface KeyValue {
  readonly key: Value;
  readonly value: Value;
}

/** `{prefix}.{layer}.key` and `.value` for each layer. */
export function cacheNames(prefix: string, layers: number): readonly KeyValue[] {
  return Array.from({ length: layers }, (_, layer) => ({ key: `${prefix}.${layer}.key`, value: `${prefix}.${layer}.value` }));
}

/** All names of a cache, layer by layer, key before value. */
export function flatNames(cache: readonly KeyValue[]): readonly Value[] {
  return cache.flatMap(({ key, value }) => [key, value]);
}

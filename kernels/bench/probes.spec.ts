import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { cpuFlags } from '../binding/choose-library.js';
import { loadProbes } from './probes.js';

const probes = loadProbes();

describe('the probes', () => {
  it('names the widest products that this CPU has', () => {
    const flags = cpuFlags(readFileSync('/proc/cpuinfo', 'utf8'));
    const widest = flags.has('amx_bf16') ? 'amx_bf16' : flags.has('avx512_bf16') ? 'avx512_bf16' : 'avx2_fma';
    expect(probes.peakInstructions).toBe(widest);
    expect(probes.registerPeak()).toBeGreaterThan(1e9);
  });

  it('runs every kind of product that a step has, plain and packed, and forgets what is freed', () => {
    for (const isPacked of [false, true]) {
      const kinds = [
        probes.createProduct(48, 96, 40, false, true, false, false, isPacked),
        probes.createProduct(48, 40, 96, false, false, false, false, isPacked),
        probes.createProduct(96, 40, 48, true, false, true, true, isPacked),
      ];
      for (const product of kinds) {
        expect(probes.runProduct(product)).toBeGreaterThan(0);
        probes.freeProduct(product);
        expect(() => probes.runProduct(product)).toThrow(`product ${product} was freed or never made`);
      }
    }
  });

  it('refuses sizes that no product has', () => {
    expect(() => probes.createProduct(-1, 8, 8, false, false, false, false, false)).toThrow();
  });

  it('reads and mixes', () => {
    expect(probes.memoryRead(2 ** 20, 2)).toBeGreaterThan(0);
    expect(probes.memoryMixed(2 ** 20, 2)).toBeGreaterThan(0);
  });
});

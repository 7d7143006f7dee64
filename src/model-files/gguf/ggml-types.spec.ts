import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { decodeSafetensors } from '../safetensors.js';
import type { GgmlType } from './ggml-blocks.js';
import { GGML_TYPES } from './ggml-types.js';

const HALF = [0x00, 0x38];
const MINUS_TWO = [0x00, 0xc0];

function kind(name: string): GgmlType {
  const found = [...GGML_TYPES.values()].find((type) => type.name === name);
  if (found === undefined) throw new Error(`no ggml type ${name}`);
  return found;
}

/** Random blocks of each kind and what the package gguf makes of them; see test/golden/generate-gguf.py. */
const GOLDEN = new URL('../../../test/golden/files/gguf/blocks.safetensors', import.meta.url);
const { tensors: golden } = decodeSafetensors(readFileSync(GOLDEN), GOLDEN.pathname);
const GOLDEN_KINDS = [...golden.keys()].filter((name) => name.endsWith('.blocks')).map((name) => name.replace('.blocks', ''));
const goldenBytes = (name: string) => new Uint8Array(golden.get(name)?.bytes ?? []);

/** 16 bytes whose low nibbles count up from 0 and whose high nibbles count down from 15. */
const NIBBLES = Array.from({ length: 16 }, (_unused, i) => ((15 - i) << 4) | i);
const UP_THEN_DOWN = [...Array(16).keys(), ...[...Array(16).keys()].reverse()];

describe('GGML_TYPES', () => {
  it('have the codes of ggml.h', () => {
    expect([...GGML_TYPES].map(([code, { name }]) => [code, name])).toEqual([
      [0, 'F32'], [1, 'F16'], [30, 'BF16'], [2, 'Q4_0'], [3, 'Q4_1'], [6, 'Q5_0'], [7, 'Q5_1'], [8, 'Q8_0'], [20, 'IQ4_NL'],
      [10, 'Q2_K'], [11, 'Q3_K'], [12, 'Q4_K'], [13, 'Q5_K'], [14, 'Q6_K'], [15, 'Q8_K'], [23, 'IQ4_XS'],
    ]);
  });

  it('have a golden each, but for F32 and Q8_K', () => {
    expect([...GGML_TYPES.values()].map(({ name }) => name).filter((name) => !GOLDEN_KINDS.includes(name))).toEqual(['F32', 'Q8_K']);
  });

  it.each(GOLDEN_KINDS)('read random %s blocks as the package gguf does, bit for bit', (name) => {
    const values = kind(name).dequantise(goldenBytes(`${name}.blocks`));
    const expected = new Float32Array(goldenBytes(`${name}.values`).buffer);
    expect(expected.length).toBeGreaterThanOrEqual(64);
    expect([...values]).toEqual([...expected]);
  });

  it('read a Q8_K block as d q with signed bytes, d in float32', () => {
    const bytes = Array.from({ length: 256 }, (_unused, i) => i - 128);
    const block = Uint8Array.from([...new Uint8Array(Float32Array.of(0.3).buffer), ...bytes.map((byte) => byte & 0xff), ...Array(32).fill(9)]);
    expect([...kind('Q8_K').dequantise(block)]).toEqual(bytes.map((q) => Math.fround(Math.fround(0.3) * q)));
  });

  it('read a Q4_1 block as d q + m, low nibbles first', () => {
    expect([...kind('Q4_1').dequantise(Uint8Array.from([...HALF, ...MINUS_TWO, ...NIBBLES]))]).toEqual(UP_THEN_DOWN.map((q) => 0.5 * q - 2));
  });

  it('read a Q4_0 block as d (q - 8)', () => {
    expect([...kind('Q4_0').dequantise(Uint8Array.from([...MINUS_TWO, ...NIBBLES]))]).toEqual(UP_THEN_DOWN.map((q) => (q === 8 ? -0 : -2 * (q - 8))));
  });

  it('read a Q8_0 block as d q with signed bytes', () => {
    const bytes = Array.from({ length: 32 }, (_unused, i) => i * 8 - 124);
    expect([...kind('Q8_0').dequantise(Uint8Array.from([...HALF, ...bytes.map((byte) => byte & 0xff)]))]).toEqual(bytes.map((q) => 0.5 * q));
  });

  it('read each block with its own scale', () => {
    const values = kind('Q8_0').dequantise(Uint8Array.from([...HALF, ...Array(32).fill(2), ...MINUS_TWO, ...Array(32).fill(1)]));
    expect([values[31], values[32], values.length]).toEqual([1, -2, 64]);
  });

  it('read plain kinds as they are', () => {
    expect([...kind('F32').dequantise(new Uint8Array(Float32Array.of(1.1, -3).buffer))]).toEqual([Math.fround(1.1), -3]);
    expect([...kind('F16').dequantise(Uint8Array.from([...HALF, ...MINUS_TWO]))]).toEqual([0.5, -2]);
    expect([...kind('BF16').dequantise(Uint8Array.from([0x80, 0x3f, 0x00, 0xc0]))]).toEqual([1, -2]);
  });
});

import { expect, it } from 'vitest';
import { formatBytes, parseBytes } from './byte-size.js';

it.each([
  ['0', 0],
  ['1048576', 1_048_576],
  ['10GiB', 10_737_418_240],
  ['1.5 KiB', 1_536],
  ['2TiB', 2_199_023_255_552],
])('reads %s', (text, bytes) => {
  expect(parseBytes(text, '--most')).toBe(bytes);
});

it.each(['', '-1', '10GB', 'GiB', '1e9', '1.5.5MiB', '900000000000000TiB'])('refuses "%s"', (text) => {
  expect(() => parseBytes(text, '--most')).toThrow(`--most is "${text}"`);
});

it.each([
  [0, '0 B'],
  [1_023, '1023 B'],
  [1_536, '1.5 KiB'],
  [10_737_418_240, '10.0 GiB'],
  [5 * 2 ** 50, '5120.0 TiB'],
])('writes %i', (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text);
});

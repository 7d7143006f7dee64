import { expect, it } from 'vitest';
import { chosen, titleOf } from './case.js';
import { CASES } from './cases.js';

it('names every case once', () => {
  const titles = CASES.map(titleOf);
  expect(new Set(titles).size).toBe(titles.length);
});

it('runs every gate by default, the whole table when asked, and no trial among them', () => {
  const gates = ['gate linear', 'gate head', 'gate head memory', 'gate adamw', 'gate train step', 'gate packed', 'gate decode', 'gate continuous'];
  const names = (scope: 'standard' | 'full'): string[] => chosen(CASES, { scope }).map(({ name }) => name);
  expect(names('standard')).toEqual(expect.arrayContaining(gates));
  expect(chosen(CASES, { scope: 'standard' }).filter(({ name }) => name === 'gate train step').map(({ shape }) => shape)).toEqual(['smollm2-135m, 8x512 tokens', 'qwen3-0.6b, 8x512 tokens']);
  expect(names('full').length).toBeGreaterThan(names('standard').length);
  expect(chosen(CASES, { scope: 'full' }).some(({ scope }) => scope === 'trial')).toBe(false);
});

it('picks by a word of the title', () => {
  expect(chosen(CASES, { scope: 'standard', only: 'adamw' }).map(({ name }) => name)).toEqual(['gate adamw']);
  expect(chosen(CASES, { scope: 'trial', only: 'nothing has this' })).toEqual([]);
});

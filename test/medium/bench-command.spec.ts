import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import type { Figure } from '../../src/cli/bench/figure.js';
import { compiled } from '../support/compiled.js';
import { useScratchDir } from '../support/scratch-dir.js';

const scratch = useScratchDir();

async function bench(...args: string[]): Promise<{ stdout: string; stderr: string; code: number }> {
  const entry = await compiled('src/main.cli.ts');
  return promisify(execFile)(process.execPath, [entry, 'bench', ...args]).then(
    (output) => ({ ...output, code: 0 }),
    (error: { stdout: string; stderr: string; code: number }) => error,
  );
}

it('measures every kind of row on a tiny shape, and writes each beside its limit as JSON', async () => {
  const file = scratch('bench.json');
  const { code, stderr, stdout } = await bench('--trial', '--rounds', '1', '--json', file);
  expect({ code, failures: stderr.split('\n').filter((line) => line.includes('error')) }).toEqual({ code: 0, failures: [] });
  const figures = JSON.parse(await readFile(file, 'utf8')) as Figure[];
  for (const figure of figures) {
    expect(figure).toEqual({
      name: expect.any(String), shape: expect.any(String), value: expect.any(Number), unit: expect.any(String), limit: expect.any(Number), share: expect.any(Number),
      ...(figure.goal ? { goal: figure.goal } : {}),
    });
    expect(figure.limit).toBeGreaterThan(0);
    expect(figure.share).toBeCloseTo(figure.value / figure.limit, 9);
  }
  const gates = figures.filter(({ name }) => name.startsWith('gate'));
  expect(gates.map(({ name, goal }) => [name, goal])).toEqual([
    ['gate linear', { atLeast: 1.3 }],
    ['gate head', { atMost: 1.35 }],
    ['gate head memory', { atMost: 0.1 }],
    ['gate adamw', { atLeast: 0.8 }],
    ['gate train step', { atLeast: 0.6 }],
    ['gate packed', { atLeast: 1.6 }],
    ['gate decode', { atLeast: 0.5 }],
    ['gate continuous', { atLeast: 1.5 }],
  ]);
  expect(stdout.split('\n').filter((line) => line.startsWith('| gate'))).toHaveLength(gates.length);
});

it('says which rows there are when none is meant', async () => {
  const { code, stderr } = await bench('--only', 'no such row');
  expect(code).toBe(2);
  expect(stderr).toMatch(/error cli\.argument_invalid: no row .* "no such row"; there are limit machine; .*gate adamw/);
});

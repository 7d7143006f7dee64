import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { lastCacheBytes } from './last-cache.js';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'limbeck-caches-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

function cache(name: string, size: string): void {
  mkdirSync(join(dir, name));
  writeFileSync(join(dir, name, 'size'), `${size}\n`);
}

it('is the largest cache, in the units of Linux', () => {
  cache('index0', '48K');
  cache('index3', '307200K');
  cache('index2', '2M');
  mkdirSync(join(dir, 'power'));
  expect(lastCacheBytes(dir)).toBe(300 * 2 ** 20);
});

it('is 0 where nothing is told', () => {
  expect(lastCacheBytes(join(dir, 'nowhere'))).toBe(0);
  expect(lastCacheBytes(dir)).toBe(0);
  cache('index0', 'unknown');
  expect(lastCacheBytes(dir)).toBe(0);
});

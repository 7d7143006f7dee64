import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach } from 'vitest';

/** Gives each test of the calling file an empty directory of its own, removed afterwards. @returns a function that makes paths in it. */
export function useScratchDir(): (name?: string) => string {
  let dir = '';
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'limbeck-test-'));
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true }));
  return (name = '') => join(dir, name);
}

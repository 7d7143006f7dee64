import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach } from 'vitest';

/** As `useScratchDir`, for servers that run as another user: everybody may pass through. */
export function useReachableDir(): (name?: string) => string {
  let dir = '';
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'limbeck-test-'));
    chmodSync(dir, 0o711);
  });
  afterEach(() => rmSync(dir, { recursive: true, force: true, maxRetries: 3 }));
  return (name = '') => join(dir, name);
}

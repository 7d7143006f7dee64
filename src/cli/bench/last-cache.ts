import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const UNITS: Readonly<Record<string, number>> = { '': 1, K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 };

/** Bytes of the first CPU's last cache, as Linux tells them; 0 where it does not. @param dir one `index<n>` a cache. */
export function lastCacheBytes(dir = '/sys/devices/system/cpu/cpu0/cache'): number {
  try {
    return Math.max(0, ...readdirSync(dir).filter((name) => name.startsWith('index')).map((name) => bytesOf(readFileSync(join(dir, name, 'size'), 'utf8').trim())));
  } catch {
    return 0;
  }
}

function bytesOf(size: string): number {
  const [, count, unit] = /^(\d+)([KMG]?)$/.exec(size) ?? [];
  return count === undefined ? 0 : Number(count) * UNITS[unit];
}

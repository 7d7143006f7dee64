import { readFileSync } from 'node:fs';

/** The most memory that a living process has had resident at one time (`VmHWM`), bytes; 0 once it has ended. */
export function highWaterBytes(pid: number): number {
  return readHighWater(readFileSync(`/proc/${pid}/status`, 'utf8'));
}

/** `VmHWM` of the text of a `/proc/<pid>/status`, bytes; 0 where it has none. */
export function readHighWater(status: string): number {
  const [, kibibytes = '0'] = /^VmHWM:\s+(\d+) kB$/m.exec(status) ?? [];
  return Number(kibibytes) * 1024;
}

import { readFileSync } from 'node:fs';

/** The most memory that a process has had resident at one time (`VmHWM`), bytes. @throws when there is no such process. */
export function highWaterBytes(pid: number): number {
  return readHighWater(readFileSync(`/proc/${pid}/status`, 'utf8'));
}

/** `VmHWM` of the text of a `/proc/<pid>/status`, bytes; 0 where it has none, as a process that has ended but was not waited for. */
export function readHighWater(status: string): number {
  const [, kibibytes = '0'] = /^VmHWM:\s+(\d+) kB$/m.exec(status) ?? [];
  return Number(kibibytes) * 1024;
}

import { existsSync, readFileSync, rmSync } from 'node:fs';
import { z } from 'zod';
import { writePrivately } from './private-file.js';

const Process = z.object({ pid: z.number().int(), entry: z.string() });

/** What a running service leaves in its data directory for the command line, and for the next start after a kill. Holds passwords. */
const ServiceRecord = z.object({
  url: z.string(),
  supervisor: z.number().int(),
  databaseUrl: z.string(),
  redisUrl: z.string(),
  storeDir: z.string(),
  /** Process ids, with what tells each from a later process of the same number. */
  processes: z.array(Process),
});
export type ServiceRecord = z.output<typeof ServiceRecord>;

export function writeRecord(path: string, record: ServiceRecord): void {
  writePrivately(path, `${JSON.stringify(record, undefined, 2)}\n`);
}

/** @returns undefined when there is none that can be read. */
export function readRecord(path: string): ServiceRecord | undefined {
  if (!existsSync(path)) return undefined;
  try {
    return ServiceRecord.parse(JSON.parse(readFileSync(path, 'utf8')));
  } catch {
    return undefined; // of another release; its processes end by themselves when their supervisor does
  }
}

export function removeRecord(path: string): void {
  rmSync(path, { force: true });
}

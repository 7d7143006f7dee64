import { homedir } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { cliSettings } from '../config/cli-settings.js';
import { storeLocationFromEnvironment } from '../config/store-location.js';
import { readRecord } from '../embedded/service-record.js';
import { RunCleanup, type Reclaimed } from '../runs/run-cleanup.service.js';
import { formatBytes, parseBytes } from './byte-size.js';
import { ArgumentInvalid } from './failure.js';
import { markdown } from './result-table.js';
import { withDatabase } from './service-database.js';

interface GcFlags {
  readonly maxTargetsBytes?: string;
  readonly maxCheckpointsBytes?: string;
  readonly dryRun?: boolean;
  readonly json?: boolean;
  readonly data?: string;
}

/** `gc`: gives room on the disk back, beside a running service or without one. */
export function addGcCommand(program: Command): void {
  program
    .command('gc')
    .description('remove what finished jobs keep beyond these limits, oldest first, and files that belong to nothing; jobs that go on and models are never touched')
    .option('--max-checkpoints-bytes <size>', 'what the checkpoints of all finished jobs may take together, such as 10GiB')
    .option('--max-targets-bytes <size>', 'what the stored answers of teachers of all finished jobs may take together')
    .option('--dry-run', 'only say what would be removed')
    .option('--json', 'print JSON')
    .option('--data <dir>', 'data directory of a running "limbeck up", unless LIMBECK_DATABASE_URL and LIMBECK_STORE_DIR are set')
    .action(async ({ maxCheckpointsBytes, maxTargetsBytes, dryRun = false, json = false, data }: GcFlags) => {
      const limits = {
        checkpointBytes: maxCheckpointsBytes === undefined ? undefined : parseBytes(maxCheckpointsBytes, '--max-checkpoints-bytes'),
        targetBytes: maxTargetsBytes === undefined ? undefined : parseBytes(maxTargetsBytes, '--max-targets-bytes'),
      };
      const { databaseUrl, storeDir } = storeLocation(data);
      const reclaimed = await withDatabase(databaseUrl, (database) => RunCleanup.over(database, { storeDir }).run(limits, { dryRun }));
      process.stdout.write(`${json ? asJson(reclaimed, dryRun) : asTable(reclaimed, dryRun)}\n`);
    });
}

/** Database and store always of one place: with those of two installations, every run of the store would seem to be gone. @throws ArgumentInvalid */
function storeLocation(given: string | undefined): { readonly databaseUrl: string; readonly storeDir: string } {
  const { databaseUrl, storeDir } = storeLocationFromEnvironment();
  if (databaseUrl !== undefined && storeDir !== undefined) return { databaseUrl, storeDir };
  if (databaseUrl !== undefined || storeDir !== undefined) throw new ArgumentInvalid('set both LIMBECK_DATABASE_URL and LIMBECK_STORE_DIR as they are for the API, or neither');
  const dataDir = given ?? cliSettings().data ?? join(homedir(), '.limbeck');
  const record = readRecord(join(dataDir, 'service.json'));
  if (!record) throw new ArgumentInvalid(`no service runs from ${dataDir}; start one with "limbeck up", or set LIMBECK_DATABASE_URL and LIMBECK_STORE_DIR as they are for the API`);
  return record;
}

function asTable(reclaimed: readonly Reclaimed[], dryRun: boolean): string {
  if (reclaimed.length === 0) return 'nothing to remove';
  const lines = reclaimed.map(({ runId, kind, files, bytes }) => [runId, kind, String(files), formatBytes(bytes)]);
  const { files, bytes } = sumOf(reclaimed);
  return markdown([['job', dryRun ? 'would remove' : 'removed', 'files', 'size'], ...lines, ['all', '', String(files), formatBytes(bytes)]]);
}

function asJson(reclaimed: readonly Reclaimed[], dryRun: boolean): string {
  const removed = reclaimed.map(({ runId, kind, files, bytes }) => ({ job: runId, kind, files, bytes }));
  return JSON.stringify({ dry_run: dryRun, removed, ...sumOf(reclaimed) }, null, 2);
}

function sumOf(reclaimed: readonly Reclaimed[]): { readonly files: number; readonly bytes: number } {
  const sum = (of: 'files' | 'bytes'): number => reclaimed.reduce((total, each) => total + each[of], 0);
  return { files: sum('files'), bytes: sum('bytes') };
}

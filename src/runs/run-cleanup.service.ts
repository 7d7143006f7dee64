import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Injectable } from '@nestjs/common';
import type { Database } from '../database/database.js';
import { filesBelow, type FoundFile } from '../storage/census.js';
import { RunCleanupRepository, type NamedFiles } from './run-cleanup.repository.js';
import { StoreOfAnother } from './run-cleanup.errors.js';

/** Most bytes that finished runs may keep of each; without a number there is no limit. */
export interface KeepLimits {
  readonly checkpointBytes?: number;
  readonly targetBytes?: number;
}

/** Room that one run gives back. */
export interface Reclaimed {
  /** `leftovers` are files that no row names, `orphan` the directory of a run that is gone. */
  readonly kind: 'checkpoints' | 'targets' | 'leftovers' | 'orphan';
  readonly runId: string;
  readonly files: number;
  readonly bytes: number;
}

/** The folders of a run that a limit is about. */
const FOLDERS = { checkpoints: ['checkpoints', 'quarantine'], targets: ['shards', 'journal'] } as const;

/** A finished run and what lies in its directory, named by a row or not. */
interface Kept {
  readonly runId: string;
  readonly named: readonly FoundFile[];
  readonly unnamed: readonly FoundFile[];
}

/**
 * Gives room back: what finished runs keep beyond the limits, the run that ended first first, and what nothing names. Never touches a run that is not
 * finished, nor a model. May run beside a live service, twice at once, and again after it was killed: rows go first, behind a lock on the run, bytes
 * after, and what counts is what lies on the disk.
 */
@Injectable()
export class RunCleanup {
  private readonly runsDir: string;

  constructor(
    private readonly repository: RunCleanupRepository,
    { storeDir }: { readonly storeDir: string },
  ) {
    this.runsDir = join(storeDir, 'runs');
  }

  static over(database: Database, store: { readonly storeDir: string }): RunCleanup {
    return new RunCleanup(new RunCleanupRepository(database), store);
  }

  /** @param options.dryRun only say what would go. @throws StoreOfAnother before anything is removed */
  async run(limits: KeepLimits, { dryRun }: { readonly dryRun: boolean }): Promise<Reclaimed[]> {
    const orphans = await this.orphans();
    const runs: Kept[] = [];
    for (const runId of await this.repository.finished()) runs.push(await this.look(runId));
    const reclaimed: Reclaimed[] = [];
    for (const runId of orphans) reclaimed.push(await this.removeOrphan(runId, dryRun));
    for (const run of runs) reclaimed.push(await this.removeUnnamed(run, dryRun));
    reclaimed.push(...(await this.fit('checkpoints', limits.checkpointBytes, runs, dryRun)));
    reclaimed.push(...(await this.fit('targets', limits.targetBytes, runs, dryRun)));
    return reclaimed.filter(({ files }) => files > 0);
  }

  /** Directories of runs whose row is gone: a directory is made after its row, so one seen before the rows are asked for is not too new to have one. */
  private async orphans(): Promise<string[]> {
    const found = (await readdir(this.runsDir).catch(() => [])).filter((name) => name.startsWith('ftjob-'));
    const known = await this.repository.known(found);
    if (found.length > 0 && known.size === 0) throw new StoreOfAnother(this.runsDir);
    return found.filter((name) => !known.has(name)).sort();
  }

  private async removeOrphan(runId: string, dryRun: boolean): Promise<Reclaimed> {
    const files = await filesBelow(this.dirOf(runId));
    if (!dryRun) await rm(this.dirOf(runId), { recursive: true, force: true });
    return { kind: 'orphan', runId, ...sumOf(files) };
  }

  /** A finished run gains no row any more: a file that no row names now is never named. */
  private async look(runId: string): Promise<Kept> {
    const files = await filesBelow(this.dirOf(runId));
    const rows = await this.repository.named(runId);
    return { runId, named: files.filter(({ path }) => isNamed(path, rows)), unnamed: files.filter(({ path }) => !isNamed(path, rows)) };
  }

  /** Removes what a killed worker or a killed clean-up left. */
  private async removeUnnamed({ runId, unnamed }: Kept, dryRun: boolean): Promise<Reclaimed> {
    if (!dryRun) for (const { path } of unnamed) await rm(join(this.dirOf(runId), path), { force: true });
    return { kind: 'leftovers', runId, ...sumOf(unnamed) };
  }

  /** Forgets one kind of thing of as many runs as it takes for the rest to fit. */
  private async fit(kind: keyof typeof FOLDERS, limit: number | undefined, runs: readonly Kept[], dryRun: boolean): Promise<Reclaimed[]> {
    if (limit === undefined) return [];
    const sizes = runs.map(({ runId, named }) => ({ runId, ...sumOf(named.filter(({ path }) => isIn(path, FOLDERS[kind]))) }));
    let total = sizes.reduce((sum, { bytes }) => sum + bytes, 0);
    const reclaimed: Reclaimed[] = [];
    for (const { runId, files, bytes } of sizes) {
      if (total <= limit) break;
      if (files === 0 || !(dryRun || (await this.forget(runId, FOLDERS[kind])))) continue;
      total -= bytes;
      reclaimed.push({ kind, runId, files, bytes });
    }
    return reclaimed;
  }

  private async forget(runId: string, folders: readonly string[]): Promise<boolean> {
    const isForgotten = await this.repository.transaction(async (tx) => {
      if (!(await this.repository.lockFinished(tx, runId))) return false;
      await this.repository.forget(tx, runId, folders);
      return true;
    });
    if (isForgotten) for (const folder of folders) await rm(join(this.dirOf(runId), folder), { recursive: true, force: true });
    return isForgotten;
  }

  private dirOf(runId: string): string {
    return join(this.runsDir, runId);
  }
}

function isNamed(path: string, { places, checkpoints }: NamedFiles): boolean {
  return places.has(path) || checkpoints.some((name) => path.startsWith(`${name}/`));
}

function isIn(path: string, folders: readonly string[]): boolean {
  return folders.includes(path.slice(0, path.indexOf('/')));
}

function sumOf(files: readonly FoundFile[]): { readonly files: number; readonly bytes: number } {
  return { files: files.length, bytes: files.reduce((sum, { bytes }) => sum + bytes, 0) };
}

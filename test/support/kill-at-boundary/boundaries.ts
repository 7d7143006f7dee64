import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { FileCall } from './file-calls.mjs';

/** A moment in a checkpoint's life. `path` is the source of a regular expression. */
export interface Boundary extends Omit<FileCall, 'path'> {
  readonly name: string;
  readonly path: string;
  /** Which process makes the call. */
  readonly dies: 'engine' | 'host';
}

/** What each file of a checkpoint begins with while it is written aside. */
const CHECKPOINT_FILES = ['master', 'm', 'v'] as const;

/** Every boundary of a save of the stage by the native engine, in order. The host writes the state file that commits a checkpoint. */
export function saveBoundaries(stage: 'distill' | 'align'): Boundary[] {
  const aside = `/checkpoints/${stage}/\\.[^/]*\\.partial/`;
  const named = `/checkpoints/${stage}/\\d+\\.\\d+$`;
  const state = `/state/${stage}\\.json[^/]*$`;
  const stateAside = `/state/\\.${stage}\\.json[^/]*\\.partial$`;
  return [
    ...CHECKPOINT_FILES.map((file) => ({ name: `${file} written, not synced`, dies: 'engine' as const, call: 'sync' as const, when: 'before' as const, path: `${aside}\\.${file}\\.safetensors\\.` })),
    { name: 'before the manifest', dies: 'engine', call: 'open', when: 'before', path: `${aside}\\.checkpoint\\.json\\.` },
    { name: 'the manifest written, not synced', dies: 'engine', call: 'sync', when: 'before', path: `${aside}\\.checkpoint\\.json\\.` },
    { name: 'after the manifest', dies: 'engine', call: 'rename', when: 'after', path: `${aside}checkpoint\\.json$` },
    { name: 'before the rename', dies: 'engine', call: 'rename', when: 'before', path: named },
    { name: "after the rename, before the parent's sync", dies: 'engine', call: 'rename', when: 'after', path: named },
    { name: 'before the state file', dies: 'host', call: 'open', when: 'before', path: stateAside },
    { name: 'the state file written, not synced', dies: 'host', call: 'sync', when: 'before', path: stateAside },
    { name: 'before the state file has its name', dies: 'host', call: 'rename', when: 'before', path: state },
    { name: 'after the state file has its name', dies: 'host', call: 'rename', when: 'after', path: state },
  ];
}

/** The first moment at which the row of a service's run names the new state: the file it replaced is about to go. */
export function rowBoundary(stage: 'distill' | 'align'): Boundary {
  return { name: 'after the row', dies: 'host', call: 'rm', when: 'before', path: `/state/${stage}\\.json\\.[^/]*$` };
}

/** One kill at a boundary: the variables that a process and those it forks are started with. */
export class BoundaryKill {
  private readonly marker: string;

  /** @param dir where it notes that it struck, once for all processes. @param nth of the matching calls of one process, from 1. */
  constructor(
    private readonly boundary: Boundary,
    dir: string,
    private readonly nth: number,
  ) {
    this.marker = join(dir, `killed-${createHash('sha256').update(JSON.stringify({ ...boundary, nth })).digest('hex').slice(0, 16)}`);
  }

  get environment(): Readonly<Record<string, string>> {
    const { call, path, when } = this.boundary;
    return {
      KILL_AT_BOUNDARY: JSON.stringify({ call, path, when, nth: this.nth, marker: this.marker }),
      NODE_OPTIONS: `--import ${join(import.meta.dirname, 'inject.mjs')}`,
    };
  }

  /** Whether a process has died of it. */
  get hasStruck(): boolean {
    return existsSync(this.marker);
  }
}

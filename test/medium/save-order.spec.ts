import { mkdir } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { ReferenceEngine } from '../../src/engine/reference/reference-engine.js';
import { DirectoryStore } from '../../src/storage/directory-store.js';
import { watchFileCalls } from '../support/kill-at-boundary/file-calls.mjs';
import { useScratchDir } from '../support/scratch-dir.js';
import { writeTinyModel } from '../support/tiny-model.js';

const scratch = useScratchDir();

/** The syncs and renames of `work` in order, each with the end of its path; process and counter of names that are not final are left out. */
async function callsOf(work: () => Promise<unknown>): Promise<string[]> {
  const made: string[] = [];
  const end = await watchFileCalls(({ call, path, when }) => {
    const name = path.slice(scratch().length).replaceAll(/\.\d+(-\d+)?\.partial/g, '.partial');
    if (when === 'after' && (call === 'sync' || call === 'rename')) made.push(`${call} ${name}`);
  });
  await work().finally(end);
  return made;
}

describe('a save', () => {
  it('of a checkpoint syncs every file before the manifest, all before the rename, and then the parent', async () => {
    const engine = await ReferenceEngine.open(await writeTinyModel(scratch('model'), { layers: 1 }));
    await mkdir(scratch('run'));
    const aside = '/run/checkpoints/.4.2.partial';

    const calls = await callsOf(() => engine.save(scratch('run/checkpoints/4.2')));

    expect(calls.slice(0, 1)).toEqual(['sync /run']); // the new directory's own name
    expect(calls.slice(1, 7)).toEqual([
      `sync ${aside}/.state.safetensors.partial`,
      `rename ${aside}/state.safetensors`,
      `sync ${aside}`,
      `sync ${aside}/.checkpoint.json.partial`,
      `rename ${aside}/checkpoint.json`,
      `sync ${aside}`,
    ]);
    expect(calls.slice(-3)).toEqual([`sync ${aside}`, 'rename /run/checkpoints/4.2', 'sync /run/checkpoints']);
  });

  it('of a file syncs it before its name and the directory after', async () => {
    const store = new DirectoryStore(scratch('run'));

    expect(await callsOf(() => store.write('state/distill.json', Buffer.from('{}')))).toEqual([
      'sync /run',
      'sync ',
      'sync /run/state/.distill.json.partial',
      'rename /run/state/distill.json',
      'sync /run/state',
    ]);
  });

  it('of a published directory syncs its files and its own names first', async () => {
    const store = new DirectoryStore(scratch('run'));
    await store.write('aside/weights/model', Buffer.from('x'));

    expect(await callsOf(() => store.publish('aside', 'student'))).toEqual(['sync /run/aside/weights/model', 'sync /run/aside/weights', 'sync /run/aside', 'rename /run/student', 'sync /run']);
  });
});

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { useScratchDir } from '../../test/support/scratch-dir.js';
import { isIncoming, receive, removeStale, settle, type ReceiveOptions } from './incoming.js';

async function* source(...pieces: (string | Error)[]): AsyncGenerator<Uint8Array> {
  for (const piece of pieces) {
    if (piece instanceof Error) throw piece;
    yield Buffer.from(piece);
  }
}

describe('receive', () => {
  const scratch = useScratchDir();
  const options = (change: Partial<ReceiveOptions> = {}): ReceiveOptions => ({ dir: scratch('in'), maxBytes: 10, tooLarge: () => new Error('too large'), ...change });
  const left = () => readdirSync(scratch('in'));

  it('writes what comes, counts and digests it, and settles it in its place', async () => {
    const received = await receive(source('hello', ' ', 'you'), options());

    expect(received).toMatchObject({ bytes: 9, sha256: createHash('sha256').update('hello you').digest('hex') });
    await settle(received, scratch('out/there'));
    expect(readFileSync(scratch('out/there'), 'utf8')).toBe('hello you');
    expect(left()).toEqual([]);
  });

  it.each<[string, (string | Error)[], Partial<ReceiveOptions>, string]>([
    ['too much', ['123456', '78901'], {}, 'too large'],
    ['a source that breaks off', ['123', new Error('broke off')], {}, 'broke off'],
    ['a piece that is refused', ['123'], { inspect: () => { throw new Error('bad piece'); } }, 'bad piece'],
    ['a whole that is refused', ['123'], { finish: () => { throw new Error('bad whole'); } }, 'bad whole'],
    ['a full disk', ['123', Object.assign(new Error('write'), { code: 'ENOSPC' })], {}, 'no room on the disk'],
  ])('leaves nothing of %s', async (_what, pieces, change, message) => {
    await expect(receive(source(...pieces), options(change))).rejects.toThrow(message);
    expect(left()).toEqual([]);
  });

  it('leaves nothing on a disk that really is full', async ({ skip }) => {
    mkdirSync(scratch('in'));
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', scratch('in')], { stdio: 'pipe' });
    } catch {
      skip('no right to mount a small file system here');
    }
    try {
      const much = source(...Array.from({ length: 32 }, () => 'x'.repeat(8192)));
      await expect(receive(much, options({ maxBytes: 2 ** 20 }))).rejects.toMatchObject({ code: 'storage.disk_full' });
      expect(left()).toEqual([]);
    } finally {
      execFileSync('umount', [scratch('in')]);
    }
  });
});

describe('removeStale', () => {
  const scratch = useScratchDir();

  it('removes what is unfinished and old, and nothing else', async () => {
    mkdirSync(scratch('.incoming-old'));
    for (const name of ['.incoming-new', 'old', '.incoming-old/part']) writeFileSync(scratch(name), 'x');
    const longAgo = new Date(Date.now() - 2 * 86_400_000);
    for (const name of ['.incoming-old', 'old']) utimesSync(scratch(name), longAgo, longAgo);

    await removeStale(scratch(), isIncoming);
    await removeStale(scratch('absent'), isIncoming);

    expect(readdirSync(scratch()).sort()).toEqual(['.incoming-new', 'old']);
    expect(existsSync(scratch('.incoming-old'))).toBe(false);
  });
});

import { execFileSync } from 'node:child_process';
import { createWriteStream, readFileSync } from 'node:fs';
import { Writable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { useScratchDir } from '../../test/support/scratch-dir.js';
import { writeTar, type TarEntry } from './tar.js';

const TIME = 1_700_000_000;
const entry = (name: string, ...pieces: string[]): TarEntry => {
  const buffers = pieces.map((piece) => Buffer.from(piece));
  return { name, bytes: Buffer.concat(buffers).length, open: async () => (async function* () { yield* buffers; })() };
};

describe('writeTar', () => {
  const scratch = useScratchDir();

  it('writes what tar reads: names, sizes on and off the block, times', async () => {
    const files = [entry('m/empty'), entry('m/config.json', '{', '}'), entry('m/block', 'x'.repeat(512)), entry('m/onnx/model.onnx', 'y'.repeat(513))];

    await writeTar(files, TIME, createWriteStream(scratch('m.tar')));

    execFileSync('tar', ['-xf', scratch('m.tar'), '-C', scratch()]);
    expect(['empty', 'config.json', 'block', 'onnx/model.onnx'].map((name) => readFileSync(scratch(`m/${name}`), 'utf8'))).toEqual(['', '{}', 'x'.repeat(512), 'y'.repeat(513)]);
    expect(execFileSync('tar', ['--utc', '--full-time', '-tvf', scratch('m.tar')], { encoding: 'utf8' })).toMatch(/^-rw-r--r-- 0\/0 +0 2023-11-14 22:13:20 m\/empty$/m);
    expect(readFileSync(scratch('m.tar')).length % 512).toBe(0);
  });

  it('gives files beyond 8 GiB a pax record with their size', async () => {
    let head = Buffer.alloc(0);
    const out = new Writable({
      write(piece: Buffer, _encoding, done) {
        head = Buffer.concat([head, piece]);
        done(head.length >= 1536 ? new Error('enough') : null);
      },
    });
    const huge: TarEntry = { name: 'm/model.safetensors', bytes: 8 ** 11, open: async () => (async function* () { yield Buffer.alloc(512); })() };

    await expect(writeTar([huge], TIME, out)).rejects.toThrow('enough');

    expect(head.toString('ascii', 156, 157)).toBe('x');
    expect(head.toString('ascii', 512, 531)).toBe('19 size=8589934592\n');
    expect(head.toString('ascii', 1024, 1024 + 19)).toBe('m/model.safetensors');
    expect(head.toString('ascii', 1024 + 156, 1024 + 157)).toBe('0');
  });

  it('does not finish an archive whose file changed its size', async () => {
    await expect(writeTar([{ ...entry('m/a', 'abc'), bytes: 4 }], TIME, createWriteStream(scratch('m.tar')))).rejects.toThrow('m/a had 3 bytes where 4 were announced');
  });
});

import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { RunStore } from '../distillation/store.js';
import { DirectoryStore } from './directory-store.js';

const bytes = (text: string) => new TextEncoder().encode(text);
const text = (found: Uint8Array | undefined) => found && new TextDecoder().decode(found);

describe('DirectoryStore', () => {
  let root: string;
  let store: RunStore;

  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'store-'));
    store = new DirectoryStore(root);
  });
  afterEach(() => rmSync(root, { recursive: true, force: true }));

  it('reads back what was written last, and undefined where nothing was', async () => {
    await store.write('state/distill.json', bytes('one'));
    await store.write('state/distill.json', bytes('two'));

    expect(text(await store.read('state/distill.json'))).toBe('two');
    expect(await store.read('state/align.json')).toBeUndefined();
  });

  it('appends to what is there', async () => {
    await store.append('metrics.jsonl', bytes('a\n'));
    await store.append('metrics.jsonl', bytes('b\n'));

    expect(text(await store.read('metrics.jsonl'))).toBe('a\nb\n');
  });

  it('lists committed files by prefix in order and leaves out files still being written', async () => {
    for (const name of ['shards/train-00001.safetensors', 'shards/train-00000.safetensors', 'shards/heldout-00000.safetensors', 'report.json']) {
      await store.write(name, bytes('x'));
    }
    writeFileSync(join(root, 'shards', '.train-00002.safetensors.1.partial'), 'torn');

    expect(await store.list('shards/train-')).toEqual(['shards/train-00000.safetensors', 'shards/train-00001.safetensors']);
    expect(await store.list('rep')).toEqual(['report.json']);
    expect(await store.list('nothing/here')).toEqual([]);
  });

  it.each(['../outside', '/etc/passwd', 'a/../b', '.hidden', 'a//b', 'a/', '', 'a\\b', 'nul\0'])('refuses the name %j', async (name) => {
    await expect(store.write(name, bytes('x'))).rejects.toMatchObject({ code: 'storage.name_refused' });
    expect(() => store.path(name)).toThrow(/no file name/);
  });

  it('removes files and whole directories, and does not mind their absence', async () => {
    await store.write('checkpoints/distill/1.1/weights', bytes('x'));

    await store.remove('checkpoints/distill/1.1');
    await store.remove('checkpoints/distill/1.1');

    expect(await store.list('checkpoints/')).toEqual([]);
  });

  it('publishes a directory whole and refuses a taken name', async () => {
    mkdirSync(store.path('aside'));
    writeFileSync(store.path('aside/config.json'), '{}');

    await store.publish('aside', 'student');

    expect(await store.list('')).toEqual(['student/config.json']);
    mkdirSync(store.path('aside'));
    await expect(store.publish('aside', 'student')).rejects.toMatchObject({ code: 'storage.name_taken' });
  });

  it('sweeps what it is told to, finished or not, and nothing else', async () => {
    await store.write('checkpoints/2.1/master', bytes('x'));
    await store.write('checkpoints/4.1/master', bytes('x'));
    mkdirSync(join(root, 'checkpoints', '.6.1.77-3.partial'));
    writeFileSync(join(root, '.report.json.77.partial'), 'half');
    writeFileSync(join(root, '.hidden'), 'of another program');
    const asked: string[] = [];

    await store.sweep('', (name, state) => {
      asked.push(`${name} ${state}`);
      return state === 'unwritten' || name === 'checkpoints/4.1';
    });

    expect(asked.sort()).toEqual(['checkpoints written', 'checkpoints/2.1 written', 'checkpoints/2.1/master written', 'checkpoints/4.1 written', 'checkpoints/6.1 unwritten', 'report.json unwritten']);
    expect(readdirSync(root, { recursive: true }).sort()).toEqual(['.hidden', 'checkpoints', 'checkpoints/2.1', 'checkpoints/2.1/master']);
  });

  it('says the disk is full, keeps the old file and leaves nothing half written', async () => {
    await store.write('report.json', bytes('old'));
    symlinkSync('/dev/full', join(root, `.report.json.${process.pid}.partial`));
    symlinkSync('/dev/full', join(root, 'metrics.jsonl'));

    await expect(store.write('report.json', bytes('new'))).rejects.toMatchObject({ code: 'storage.disk_full' });
    await expect(store.append('metrics.jsonl', bytes('x'))).rejects.toMatchObject({ code: 'storage.disk_full' });

    expect(text(await store.read('report.json'))).toBe('old');
    expect(readdirSync(root).sort()).toEqual(['metrics.jsonl', 'report.json']);
  });
});

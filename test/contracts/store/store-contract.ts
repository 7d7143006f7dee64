import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import type { RunStore } from '../../../src/distillation/store.js';

const bytes = (text: string) => new TextEncoder().encode(text);
const text = (found: Uint8Array | undefined) => found && new TextDecoder().decode(found);

/** What every store of a run's files keeps. @param open gives an empty store for each test. */
export function describeRunStore(name: string, open: () => Promise<RunStore>): void {
  describe(`${name} as a run store`, () => {
    let store: RunStore;
    beforeEach(async () => {
      store = await open();
    });

    it('reads back what was written last, and undefined where nothing was', async () => {
      await store.write('state/distill.json', bytes('one'));
      await store.write('state/distill.json', bytes('two'));

      expect(text(await store.read('state/distill.json'))).toBe('two');
      expect(await store.read('state/align.json')).toBeUndefined();
    });

    it('appends to what is there, whether it was appended or written', async () => {
      await store.append('metrics.jsonl', bytes('a\n'));
      await store.append('metrics.jsonl', bytes('b\n'));
      await store.write('metrics.jsonl', bytes('c\n'));
      await store.append('metrics.jsonl', bytes('d\n'));

      expect(text(await store.read('metrics.jsonl'))).toBe('c\nd\n');
    });

    it('hashes a file of more than Node reads whole, and none that is not there', async () => {
      const bytes = 2 ** 31 + 5;
      const zeros = createHash('sha256');
      for (let left = bytes; left > 0; left -= 2 ** 20) zeros.update(new Uint8Array(Math.min(left, 2 ** 20)));
      mkdirSync(store.path('aside'));
      writeFileSync(store.path('aside/model.safetensors'), '');
      truncateSync(store.path('aside/model.safetensors'), bytes); // takes no room on disk

      await store.publish('aside', 'student');

      expect(await store.sha256('student/model.safetensors')).toBe(zeros.digest('hex'));
      expect(await store.sha256('student/config.json')).toBeUndefined();
    });

    it('lists committed files by prefix in order', async () => {
      for (const file of ['shards/train-00001.safetensors', 'shards/train-00000.safetensors', 'shards/heldout-00000.safetensors', 'report.json']) await store.write(file, bytes('x'));

      expect(await store.list('shards/train-')).toEqual(['shards/train-00000.safetensors', 'shards/train-00001.safetensors']);
      expect(await store.list('rep')).toEqual(['report.json']);
      expect(await store.list('nothing/here')).toEqual([]);
    });

    it.each(['../outside', '/etc/passwd', 'a/../b', '.hidden', 'a//b', 'a/', '', 'a\\b', 'nul\0'])('refuses to write %j', async (file) => {
      await expect(store.write(file, bytes('x'))).rejects.toMatchObject({ code: 'storage.name_refused' });
      expect(() => store.path(file)).toThrowError(expect.objectContaining({ code: 'storage.name_refused' }));
    });

    it('removes files and whole directories, committed or not, and does not mind their absence', async () => {
      await store.write('state/a.json', bytes('x'));
      await store.write('state/b.json', bytes('x'));
      mkdirSync(store.path('checkpoints/distill/1.1'));

      await store.remove('state/a.json');
      expect(await store.list('')).toEqual(['state/b.json']);
      await store.remove('state');
      await store.remove('state');
      await store.remove('checkpoints/distill/1.1');

      expect(await store.list('')).toEqual([]);
      expect(await store.read('state/b.json')).toBeUndefined();
      mkdirSync(store.path('checkpoints/distill/1.1')); // would throw if it were still there
    });

    it('publishes a directory whole, finds it by its name, and refuses a taken one', async () => {
      mkdirSync(join(store.path('aside'), 'onnx'), { recursive: true });
      writeFileSync(store.path('aside/config.json'), '{}');
      writeFileSync(store.path('aside/onnx/model.onnx'), 'graph');

      await store.publish('aside', 'student');

      expect(await store.list('')).toEqual(['student/config.json', 'student/onnx/model.onnx']);
      expect(text(await store.read('student/onnx/model.onnx'))).toBe('graph');
      expect(readFileSync(join(store.path('student'), 'onnx', 'model.onnx'), 'utf8')).toBe('graph');
      mkdirSync(store.path('aside'));
      writeFileSync(store.path('aside/config.json'), '{}');
      await expect(store.publish('aside', 'student')).rejects.toMatchObject({ code: 'storage.name_taken' });
    });
  });
}

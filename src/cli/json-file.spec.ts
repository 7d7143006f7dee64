import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { writeJson } from './json-file.js';

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'limbeck-json-'));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

it('writes the value, over what was there', async () => {
  const file = join(dir, 'figures.json');
  await writeJson(file, [1, 2, 3]);
  await writeJson(file, [{ name: 'step', value: 2 }]);
  expect(await readFile(file, 'utf8')).toBe('[\n  {\n    "name": "step",\n    "value": 2\n  }\n]\n');
});

it('writes nothing when no file was named', async () => {
  const before = await readdir(dir);
  await writeJson(undefined, [1]);
  expect(await readdir(dir)).toEqual(before);
});

it('says which file cannot be written, and what would be right', async () => {
  await expect(writeJson(join(dir, 'absent', 'x.json'), [])).rejects.toMatchObject({
    code: 'cli.argument_invalid', message: expect.stringMatching(/^--json .*absent\/x\.json cannot be written: ENOENT.*name a file in a directory that exists/),
  });
});

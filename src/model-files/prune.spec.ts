import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { useScratchDir } from '../../test/support/scratch-dir.js';
import { TINY_FAMILIES, writeTinyModel } from '../../test/support/tiny-model.js';
import { ModelDirectory } from './model-directory.js';
import { modelCard } from './model-card.js';
import { pruneModel } from './prune.js';

describe('pruneModel', () => {
  const scratch = useScratchDir();
  const source = () => writeTinyModel(scratch('source'), { layers: 4 });

  it('keeps the named layers bit for bit under new numbers, and everything that is no layer', async () => {
    await source();

    await pruneModel(scratch('source'), scratch('pruned'), [0, 3]);

    const before = await ModelDirectory.open(scratch('source'));
    const after = await ModelDirectory.open(scratch('pruned'));
    expect(after.config).toEqual({ ...before.config, layers: 2 });
    for (const name of after.names) {
      const { bytes } = await before.tensor(name.replace('layers.1.', 'layers.3.'));
      expect((await after.tensor(name)).bytes, name).toEqual(bytes);
    }
    await Promise.all([before.close(), after.close()]);
  });

  it.each(Object.entries(TINY_FAMILIES))('leaves nothing out of a layer of the family %s, and names the family', async (_name, family) => {
    await writeTinyModel(scratch('source'), { layers: 3, ...family });

    await pruneModel(scratch('source'), scratch('pruned'), [2]);

    const before = await ModelDirectory.open(scratch('source'));
    const after = await ModelDirectory.open(scratch('pruned'));
    expect(after.config).toEqual({ ...before.config, layers: 1 });
    const ofLayer = before.names.filter((name) => name.includes('layers.2.'));
    expect(after.names.filter((name) => name.includes('layers.'))).toEqual(ofLayer.map((name) => name.replace('layers.2.', 'layers.0.')));
    for (const name of ofLayer) expect((await after.tensor(name.replace('layers.2.', 'layers.0.'))).bytes, name).toEqual((await before.tensor(name)).bytes);
    expect(readFileSync(scratch('pruned/README.md'), 'utf8')).toContain(`tags:\n  - ${before.config.architecture}\n  - pruned\n`);
    await Promise.all([before.close(), after.close()]);
  });

  it('copies tokenizer and template, and states licence and origin', async () => {
    await source();
    const card = modelCard({ title: 'x', license: 'apache-2.0', baseModel: 'maker/base', tags: [], sections: [{ heading: 'Origin', body: 'Dequantised from Q4_1.' }, { heading: 'Shape', body: 'small' }] });
    writeFileSync(scratch('source/README.md'), card);

    await pruneModel(scratch('source'), scratch('pruned'), [1, 2]);

    for (const name of ['tokenizer.json', 'tokenizer_config.json', 'chat_template.jinja']) {
      expect(existsSync(scratch(`pruned/${name}`))).toBe(existsSync(scratch(`source/${name}`)));
    }
    expect(readFileSync(scratch('pruned/tokenizer.json'))).toEqual(readFileSync(scratch('source/tokenizer.json')));
    const pruned = readFileSync(scratch('pruned/README.md'), 'utf8');
    expect(pruned).toContain('license: apache-2.0\nbase_model: maker/base\n');
    expect(pruned).toContain('Made from source by keeping layers 1, 2 of its 4; nothing was trained since.\n\nDequantised from Q4_1.\n');
    expect(pruned).not.toContain('small');
  });

  it('counts its progress tensor by tensor', async () => {
    await source();
    const done: string[] = [];
    await pruneModel(scratch('source'), scratch('pruned'), [2], { onProgress: ({ done: count, total }) => void done.push(`${count}/${total}`) });
    expect(done).toEqual(Array.from({ length: 11 }, (_unused, index) => `${index + 1}/11`));
  });

  it.each<[number[], RegExp]>([
    [[], /no layer would be kept; name at least one of 0 to 3/],
    [[0, 4], /layer 4 does not exist; the source has layers 0 to 3/],
    [[-1], /layer -1 does not exist/],
    [[0.5], /layer 0.5 does not exist/],
    [[1, 1], /layer 1 is named twice/],
    [[2, 1], /layer 1 stands after 2; name the layers in ascending order/],
  ])('refuses %j and writes nothing', async (kept, problem) => {
    await source();
    await expect(pruneModel(scratch('source'), scratch('pruned'), kept)).rejects.toMatchObject({ code: 'model_files.layers_invalid', message: expect.stringMatching(problem) });
    expect(readdirSync(scratch())).toEqual(['source']);
  });

  it('refuses a place that is taken', async () => {
    await source();
    mkdirSync(scratch('pruned'));
    writeFileSync(scratch('pruned/x'), '');
    await expect(pruneModel(scratch('source'), scratch('pruned'), [0])).rejects.toMatchObject({ code: 'model_files.output_taken' });
  });
});

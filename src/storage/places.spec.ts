import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join, resolve, sep } from 'node:path';
import { describe, expect, it } from 'vitest';
import { hostileNames } from '../../test/support/hostile-names.js';
import { useScratchDir } from '../../test/support/scratch-dir.js';
import { isPlace, openPlace, placeIn, resolvePlace } from './places.js';

describe('places in the store', () => {
  const scratch = useScratchDir();

  it('takes 10,000 hostile names nowhere but below the root', async () => {
    const root = scratch('store');
    mkdirSync(root);
    writeFileSync(scratch('secret'), 'secret');
    symlinkSync(scratch(), join(root, 'link'));
    let refused = 0;

    for (const name of hostileNames()) {
      if (!isPlace(name)) {
        refused += 1;
        expect(() => placeIn(root, name)).toThrow(expect.objectContaining({ code: 'storage.name_refused' }));
        continue;
      }
      expect(resolve(placeIn(root, name)).startsWith(root + sep)).toBe(true);
      await expect(openPlace(root, name).catch((error: { code: string }) => error.code)).resolves.toSatisfy((found) => found === undefined || found === 'storage.name_refused');
    }

    expect(refused).toBeGreaterThan(8000);
    expect(refused).toBeLessThan(10_000);
  });

  it('finds what is there, and nothing where nothing is', async () => {
    mkdirSync(scratch('models/m'), { recursive: true });
    writeFileSync(scratch('models/m/config.json'), '{}');

    expect(await resolvePlace(scratch(), 'models/m')).toBe(scratch('models/m'));
    const file = await openPlace(scratch(), 'models/m/config.json');
    expect(await file?.readFile('utf8')).toBe('{}');
    await file?.close();
    expect(await resolvePlace(scratch(), 'models/other')).toBeUndefined();
    expect(await openPlace(scratch(), 'models/m/config.json/below')).toBeUndefined();
  });

  it.each(['file', 'folder/config.json'])('refuses a link on the way to %s', async (place) => {
    mkdirSync(scratch('elsewhere'));
    mkdirSync(scratch('root'));
    writeFileSync(scratch('elsewhere/config.json'), '{}');
    symlinkSync(scratch('elsewhere/config.json'), scratch('root/file'));
    symlinkSync(scratch('elsewhere'), scratch('root/folder'));

    await expect(resolvePlace(scratch('root'), place)).rejects.toMatchObject({ code: 'storage.name_refused' });
    await expect(openPlace(scratch('root'), place)).rejects.toThrow(/through a link/);
  });

  it('serves a root that is itself reached through a link, and no directory as a file', async () => {
    mkdirSync(scratch('real/sub'), { recursive: true });
    symlinkSync(scratch('real'), scratch('alias'));

    expect(await resolvePlace(scratch('alias'), 'sub')).toBe(scratch('real/sub'));
    await expect(openPlace(scratch('alias'), 'sub')).rejects.toThrow(/no plain file/);
  });
});

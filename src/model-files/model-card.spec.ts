import { writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { useScratchDir } from '../../test/support/scratch-dir.js';
import { modelCard, readCardFacts } from './model-card.js';

describe('modelCard', () => {
  it('writes front matter, title and sections, values quoted where YAML asks for it', () => {
    const card = modelCard({ title: 'T', license: 'apache-2.0', baseModel: 'a: b', tags: ['llama'], sections: [{ heading: 'One', body: ' text \n' }, { heading: 'Two', body: 'more' }] });
    expect(card).toBe(
      '---\nlicense: apache-2.0\nbase_model: "a: b"\nlibrary_name: transformers\npipeline_tag: text-generation\ntags:\n  - llama\n---\n\n# T\n\n## One\n\ntext\n\n## Two\n\nmore\n',
    );
  });

  it('leaves out what is not known', () => {
    expect(modelCard({ title: 'T', tags: [], sections: [] })).toBe('---\nlibrary_name: transformers\npipeline_tag: text-generation\ntags: []\n---\n\n# T\n\n');
  });
});

describe('readCardFacts', () => {
  const scratch = useScratchDir();

  it('gives back what a card says', async () => {
    const sections = [{ heading: 'Origin', body: 'first\n\nsecond' }, { heading: 'Shape', body: 'x' }];
    writeFileSync(scratch('README.md'), modelCard({ title: 'T', license: 'mit', baseModel: 'a/b', tags: [], sections }));
    expect(await readCardFacts(scratch())).toEqual({ license: 'mit', baseModel: 'a/b', origin: 'first\n\nsecond' });
    writeFileSync(scratch('README.md'), modelCard({ title: 'T', license: 'mit', tags: [], sections: [sections[0]] }));
    expect(await readCardFacts(scratch())).toEqual({ license: 'mit', baseModel: undefined, origin: 'first\n\nsecond' });
  });

  it.each(['', '# no front matter', '---\n[1, 2\n---\nbody', '---\n- list\n---\n', '---\nlicense: [a, b]\n---\n'])('states nothing for %j', async (text) => {
    writeFileSync(scratch('README.md'), text);
    expect(await readCardFacts(scratch())).toEqual({ license: undefined, baseModel: undefined, origin: undefined });
  });

  it('states nothing for a directory without a card', async () => {
    expect(await readCardFacts(scratch())).toEqual({ license: undefined, baseModel: undefined, origin: undefined });
  });
});

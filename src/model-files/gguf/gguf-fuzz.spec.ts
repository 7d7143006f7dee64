import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { familyGguf, GOLDEN_VOCABULARY, vector } from '../../../test/support/gguf-families.js';
import { GgufMutations } from '../../../test/support/gguf-mutations.js';
import { watchedAllocations } from '../../../test/support/watched-allocations.js';
import { AppError } from '../../common/errors.js';
import type { ModelConfig } from '../config.js';
import { ModelDirectory } from '../model-directory.js';
import { Tokenizer } from '../tokenizer.js';
import { GgufFile } from './gguf-file.js';
import { importGguf } from './import-gguf.js';

const MUTATIONS = 1200;
/** A Q2_K block of 84 bytes becomes 256 values, more than any other kind's. */
const MOST_VALUES_A_BYTE = 256 / 84;

const TINY = {
  vocabSize: GOLDEN_VOCABULARY.tokens.length, hiddenSize: 4, intermediateSize: 6, layers: 2, heads: 2, kvHeads: 1, headDim: 4, rmsNormEps: 1e-5, ropeTheta: 10000, ropeScaling: null,
  maxPositions: 64, tiedEmbeddings: true, bosId: 0, eosIds: [1], padId: null,
};
const FILES: [ModelConfig['architecture'], Uint8Array][] = [
  ['llama', familyGguf({ ...TINY, architecture: 'llama' }, {}, [vector('rope_freqs.weight', [1, 1])])],
  ['qwen2', familyGguf({ ...TINY, architecture: 'qwen2' })],
  ['qwen3', familyGguf({ ...TINY, architecture: 'qwen3' })],
];

describe('importing damaged GGUF files', () => {
  let dir: string;
  beforeAll(() => {
    dir = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'limbeck-fuzz-')); // whole imports are synced, which a disk takes its time for
  });
  afterAll(() => rmSync(dir, { recursive: true, force: true }));

  /** @returns the code of the refusal, undefined when the file was imported. */
  const outcome = async (bytes: Uint8Array): Promise<string | undefined> => {
    const [source, outDir] = [join(dir, 'm.gguf'), join(dir, 'model')];
    writeFileSync(source, bytes);
    let thrown: unknown;
    const { uint8, float32, items } = await watchedAllocations(() => importGguf(source, { outDir }).catch((cause: unknown) => void (thrown = cause)));
    expect(uint8).toBeLessThanOrEqual(bytes.length);
    expect(float32).toBeLessThanOrEqual(bytes.length * MOST_VALUES_A_BYTE);
    expect(items).toBeLessThanOrEqual(bytes.length);
    if (thrown === undefined) {
      await (await ModelDirectory.open(outDir)).close();
      await Tokenizer.load(outDir);
      rmSync(outDir, { recursive: true });
    }
    expect(readdirSync(dir)).toEqual(['m.gguf']);
    await expectInside(source, bytes.length);
    if (thrown !== undefined && !(thrown instanceof AppError)) throw thrown;
    return thrown?.code;
  };

  it.each(FILES)('ends in a model that opens or in a refusal that says why, %s', async (architecture, file) => {
    const source = join(dir, 'm.gguf');
    writeFileSync(source, file);
    const whole = await GgufFile.open(source);
    const mutations = new GgufMutations(Buffer.from(file), { keys: [...whole.metadata.keys()], tensors: [...whole.tensors.keys()] });
    await whole.close();
    expect(await outcome(file)).toBeUndefined();

    const counts: Record<string, number> = {};
    for (let number = 0; number < MUTATIONS; number++) {
      const { kind, bytes } = mutations.damaged(number);
      const code = await outcome(bytes).catch((cause: unknown) => {
        throw new Error(`mutation ${number} of ${architecture}, ${kind}`, { cause });
      });
      counts[code ?? 'imported'] = (counts[code ?? 'imported'] ?? 0) + 1;
    }
    expect(Object.keys(counts).sort()).toEqual(['imported', 'model_files.config_invalid', 'model_files.gguf_invalid']);
    expect(counts['model_files.gguf_invalid']).toBeGreaterThan(MUTATIONS / 3);
  });
});

/** Where the file opens at all, no tensor reaches beyond it, nor two into each other. */
async function expectInside(source: string, fileBytes: number): Promise<void> {
  const file = await GgufFile.open(source).catch(() => undefined);
  if (file === undefined) return;
  const ranges = [...file.tensors.values()].map(({ begin, bytes }) => [begin, begin + bytes]).sort(([a], [b]) => a - b);
  ranges.forEach(([, end], i) => expect(end).toBeLessThanOrEqual(ranges[i + 1]?.[0] ?? fileBytes));
  await file.close();
}

import { describe, expect, it } from 'vitest';
import type { EngineInfo } from '../engine/engine.js';
import type { ModelConfig } from '../model-files/config.js';
import { TeacherClient, type TeacherCapabilities } from '../teacher-clients/teacher-client.js';
import { foreseeDisk } from './foresight.js';
import { checkEngine, checkInputs, checkTeacher, type Subject } from './preflight.js';
import { parseSpec } from './spec.js';
import type { RunTokenizer } from './text.js';

const config: ModelConfig = {
  architecture: 'llama', vocabSize: 300, hiddenSize: 8, intermediateSize: 16, layers: 2, heads: 2, kvHeads: 1, headDim: 4, rmsNormEps: 1e-5, ropeTheta: 1e4, ropeScaling: null, maxPositions: 100,
  tiedEmbeddings: true, bosId: null, eosIds: [2], padId: null,
};

/** One id a letter; `<end>` is the single id 2. */
const tokenizer: RunTokenizer = {
  encode: (text) => Int32Array.from(text.split(/(<end>)/).flatMap((part) => (part === '<end>' ? [2] : [...part].map((letter) => letter.charCodeAt(0) % 256)))),
  decode: (ids) => [...ids].join(' '),
  vocabSize: 256,
  addedTokens: new Map([['<end>', 2]]),
};

const spec = parseSpec({
  model: 'm',
  training_file: 't',
  validation_file: 'v.jsonl',
  method: {
    type: 'distillation',
    distillation: {
      teacher: { dialect: 'vllm', base_url: 'http://t', model: 'x' },
      collect: { max_tokens: 20 },
      align: { max_tokens: 30 },
      evaluate: { prompts: 1, max_tokens: 20 },
    },
  },
});

const subject: Subject = {
  spec,
  config,
  tokenizer,
  template: { render: (messages) => messages.map(({ content }) => `${content}<end>`).join('') },
  training: [{ ids_T: new Int32Array(40) }],
  heldOut: [{ ids_T: new Int32Array(10) }],
  freeDiskBytes: 2 ** 33,
};

const capabilities: TeacherCapabilities = { model: 'x', maxLength: 100, repeatable: true, fingerprint: 'f' };

class ProbedTeacher extends TeacherClient {
  constructor(private readonly tells: Partial<TeacherCapabilities> = {}, private readonly encode: ((text: string) => Int32Array) | undefined = tokenizer.encode) {
    super();
  }
  async probe(): Promise<TeacherCapabilities> {
    return { ...capabilities, ...this.tells };
  }
  async tokenize(text: string): Promise<Int32Array | undefined> {
    return this.encode?.(text);
  }
  async *generate(): AsyncGenerator<never> {
    throw new Error('not asked here');
  }
  async *score(): AsyncGenerator<never> {
    throw new Error('not asked here');
  }
  async close(): Promise<void> {}
}

class SilentTeacher extends ProbedTeacher {
  override async tokenize(): Promise<undefined> {
    return undefined;
  }
}

describe('checkInputs', () => {
  it('passes a sound run and says what it found', () => {
    const checks = checkInputs(subject);

    expect(checks.map(({ verdict }) => verdict)).toEqual(['passed', 'passed', 'passed', 'passed', 'passed']);
    expect(checks.find(({ name }) => name === 'student length')?.found).toBe('70 of 100 tokens');
  });

  it.each<[string, Partial<Subject>, RegExp]>([
    ['held-out prompts', { heldOut: [] }, /v\.jsonl holds 0 prompts, evaluate\.prompts asks for 1; lower evaluate\.prompts/],
    ['vocabulary', { config: { ...config, vocabSize: 200 } }, /knows 256 ids, the model has rows for 200/],
    ['stop ids', { config: { ...config, eosIds: [] } }, /eos_token_id/],
    ['stop ids', { config: { ...config, eosIds: [5] } }, /ends an answer with id 2, which is not among the model's stop ids 5/],
    ['student length', { config: { ...config, maxPositions: 69 } }, /reach 70 tokens, the student has 69 positions/],
    ['disk', { freeDiskBytes: 1000 }, /are needed and 0\.00 GiB are free; free some space/],
  ])('fails the check "%s"', (check, change, message) => {
    expect(() => checkInputs({ ...subject, ...change })).toThrow(message);
    expect(() => checkInputs({ ...subject, ...change })).toThrow(expect.objectContaining({ code: 'distillation.preflight_failed', check }));
  });

  it('warns where it cannot know', () => {
    const silent = checkInputs({ ...subject, freeDiskBytes: undefined, template: { render: (messages) => messages.map(({ content }) => content).join('') } });

    expect(silent.filter(({ verdict }) => verdict === 'warned').map(({ name }) => name)).toEqual(['stop ids', 'disk']);
  });
});

describe('checkTeacher', () => {
  it('passes a teacher with the same tokenizer and enough room', async () => {
    const { checks } = await checkTeacher(subject, new ProbedTeacher());

    expect(checks.map(({ name, verdict }) => `${name}: ${verdict}`)).toEqual(['teacher: passed', 'teacher length: passed', 'teacher repeatability: passed', 'tokenizers: passed']);
  });

  it.each([
    ['one other id in the probe', (text: string) => tokenizer.encode(text).map((id, place) => (place === 7 ? id + 1 : id)), /from token 7 of the probe on/],
    ['an added token it does not know', (text: string) => tokenizer.encode(text.replace('<end>', '<END>')), /give other ids from token/],
    ['ids too many', (text: string) => Int32Array.of(...tokenizer.encode(text), 9), /student ends, teacher 9/],
  ])('refuses a tokenizer with %s', async (_, encode, message) => {
    await expect(checkTeacher(subject, new ProbedTeacher({}, encode))).rejects.toThrow(message);
  });

  it('refuses a teacher whose context is too short', async () => {
    await expect(checkTeacher(subject, new ProbedTeacher({ maxLength: 69 }))).rejects.toMatchObject({ code: 'distillation.preflight_failed', check: 'teacher length' });
  });

  it('warns of a teacher that does not repeat itself or cannot be asked for ids', async () => {
    const { checks } = await checkTeacher(subject, new SilentTeacher({ repeatable: false }));

    expect(checks.filter(({ verdict }) => verdict === 'warned').map(({ name }) => name)).toEqual(['teacher repeatability', 'tokenizers']);
  });
});

describe('checkEngine', () => {
  const info: EngineInfo = {
    implementation: 'native', vocabSize: 300, parameters: 1, layers: 2, maxPositions: 100, threads: 1, build: 'b', losses: { forward_kl: 'native', reverse_kl: 'native', hard: 'native' }, step: 0,
  };

  it('passes an engine that has the losses and refuses one that lacks one', () => {
    expect(checkEngine(subject, info)).toMatchObject([{ name: 'losses', verdict: 'passed' }]);
    expect(() => checkEngine(subject, { ...info, losses: { ...info.losses, reverse_kl: 'absent' } })).toThrow(/has no loss reverse_kl/);
    expect(() => checkEngine(subject, { ...info, vocabSize: 301 })).toThrow(/opened a model of 301 ids/);
  });
});

describe('foresight', () => {
  it('counts three checkpoints of each training stage and the one being written, the exports and the shards on disk', () => {
    const parameters = 300 * 8 + 2 * (2 * 8 * 8 + 2 * 8 * 4 + 3 * 8 * 16 + 2 * 8) + 8;

    expect(foreseeDisk({ spec, config, prompts: 10 })).toBe(parameters * (7 * 12 + 8) + 10 * 20 * 64 * 4.25);
  });
});

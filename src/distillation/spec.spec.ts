import { parse } from 'yaml';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { checkpointInterval, parseServiceSpec, parseSpec, resolveServiceSpec, serviceDistillationSchema, specHash } from './spec.js';

const YAML = `
model: ./models/student
training_file: ./prompts/train.jsonl
validation_file: ./prompts/heldout.jsonl
seed: 7
suffix: half
method:
  type: distillation
  distillation:
    teacher:  { dialect: vllm, base_url: "http://127.0.0.1:8000", api_key_env: TEACHER_KEY, model: smollm2-135m }
    targets:  { top_k: 64 }
    modes:    { plain: 1 }
    collect:  { samples_per_prompt: 1, max_tokens: 64, temperature: 1.0 }
    distill:  { loss: { kind: forward_kl, truncation: tail_bucket }, epochs: 3, loss_tokens_per_step: 1024, learning_rate: 1.0e-3 }
    align:    { loss: { kind: reverse_kl, truncation: tail_bucket }, steps: 12, prompts_per_step: 16, max_tokens: 64, learning_rate: 2.0e-4 }
    optimizer: { beta1: 0.9, beta2: 0.95, eps: 1.0e-8, weight_decay: 0, clip: 1, schedule: cosine, warmup: 0.1 }
    evaluate: { prompts: 48, max_tokens: 64 }
    checkpoint_every: 5m
    export:   [safetensors, onnx]
`;

const minimal = () => ({
  model: 'm',
  training_file: 't',
  validation_file: 'v',
  method: { type: 'distillation', distillation: { teacher: { dialect: 'vllm', base_url: 'http://t', model: 'x' } } },
});

/** The minimal spec with one field of `distillation` set. */
const withField = (field: string, value: unknown) => {
  const spec = minimal();
  return { ...spec, method: { ...spec.method, distillation: { ...spec.method.distillation, [field]: value } } };
};

describe('parseSpec', () => {
  it('reads the documented file as it is written', () => {
    const spec = parseSpec(parse(YAML));

    expect(spec.seed).toBe(7);
    expect(spec.method.distillation.distill).toEqual({ loss: { kind: 'forward_kl', truncation: 'tail_bucket' }, epochs: 3, loss_tokens_per_step: 1024, learning_rate: 1e-3 });
    expect(spec.method.distillation.checkpoint_every).toBe('5m');
  });

  it('fills every default in', () => {
    const { seed, suffix, method } = parseSpec(minimal());

    expect([seed, suffix]).toEqual([0, 'student']);
    expect(method.distillation).toMatchObject({
      targets: { top_k: 64 },
      modes: { plain: 1, think: 0, no_think: 0 },
      distill: { loss: { kind: 'forward_kl', truncation: 'tail_bucket' }, epochs: 3 },
      align: { loss: { kind: 'reverse_kl', truncation: 'tail_bucket' } },
      optimizer: { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0, clip: 1, schedule: 'cosine', warmup: 0.1 },
      checkpoint_every: '5m',
      export: ['safetensors', 'onnx'],
      controls: 'none',
    });
  });

  it.each([
    ['90s', { kind: 'time', everyMs: 90_000 }],
    ['1.5h', { kind: 'time', everyMs: 5_400_000 }],
    [{ steps: 2 }, { kind: 'steps', every: 2 }],
  ])('reads checkpoint_every %j', (value, wanted) => {
    const { checkpoint_every } = parseSpec(withField('checkpoint_every', value)).method.distillation;

    expect(checkpoint_every).toEqual(value);
    expect(checkpointInterval(checkpoint_every)).toEqual(wanted);
  });

  it('names an unknown key with its path and the keys that would be right', () => {
    expect(() => parseSpec(withField('distill', { epoch: 3 }))).toThrow(/method\.distillation\.distill\.epoch: unknown key; known here: loss, epochs, loss_tokens_per_step, learning_rate/);
    expect(() => parseSpec({ ...minimal(), sed: 1 })).toThrow(/sed: unknown key; known here: model, /);
  });

  it.each([
    ['targets', { top_k: '64' }, /method\.distillation\.targets\.top_k: .*expected number, received string/],
    ['targets', { top_k: 0 }, /top_k: Too small: expected number to be >=1/],
    ['align', { loss: { kind: 'hard' } }, /align\.loss\.kind/],
    ['checkpoint_every', '5 minutes', /checkpoint_every: a duration such as 5m, or steps: 2/],
    ['export', ['onnx'], /export: a list of safetensors/],
    ['modes', { plain: 0 }, /modes: at least one mode/],
    ['teacher', { dialect: 'vllm', base_url: 'ftp://t', model: 'x' }, /teacher\.base_url/],
  ])('refuses %s %j', (field, value, message) => {
    expect(() => parseSpec(withField(field, value))).toThrow(message);
    expect(() => parseSpec(withField(field, value))).toThrow(expect.objectContaining({ code: 'distillation.spec_invalid' }));
  });

  it('gives each fault with its path', () => {
    const issues = [
      { path: 'method.distillation.distill.epoch', message: 'unknown key; known here: loss, epochs, loss_tokens_per_step, learning_rate' },
      { path: 'seed', message: expect.stringContaining('>=0') },
    ];

    expect(() => parseSpec({ ...withField('distill', { epoch: 3 }), seed: -1 })).toThrow(expect.objectContaining({ issues: expect.arrayContaining(issues) }));
  });

  it('tells every fault at once', () => {
    expect(() => parseSpec({ ...minimal(), seed: -1, suffix: 'a b' })).toThrow(/seed: .*\n.*suffix: /);
  });
});

describe('specHash', () => {
  it('changes with what decides the result and not with addresses or checkpoints', () => {
    const hash = specHash(parseSpec(minimal()));

    expect(specHash(parseSpec({ ...withField('checkpoint_every', '1s'), model: 'elsewhere' }))).toBe(hash);
    expect(specHash(parseSpec(withField('controls', 'all')))).toBe(hash);
    expect(specHash(parseSpec(withField('distill', { epochs: 4 })))).not.toBe(hash);
    expect(specHash(parseSpec({ ...minimal(), seed: 1 }))).not.toBe(hash);
  });
});

describe('parseServiceSpec', () => {
  const asked = (distillation: object = {}) => ({
    model: 'smollm2-half',
    training_file: 'file-abc123',
    validation_file: 'file-def456',
    method: { type: 'distillation', distillation: { teacher: 'teacher-xyz', ...distillation } },
  });

  it('fills defaults in with JSON that it reads back unchanged', () => {
    const spec = parseServiceSpec(asked({ checkpoint_every: { steps: 2 } }));

    expect(parseServiceSpec(JSON.parse(JSON.stringify(spec)))).toEqual(spec);
    expect(spec.method.distillation).toMatchObject({ teacher: 'teacher-xyz', checkpoint_every: { steps: 2 }, align: { steps: 12 }, controls: 'none' });
  });

  it.each([
    [{ model: '../etc' }, 'model'],
    [{ model: 'a..b' }, 'model'],
    [{ model: 'Half' }, 'model'],
    [{ training_file: './train.jsonl' }, 'training_file'],
    [asked({ teacher: { dialect: 'vllm', base_url: 'http://t', model: 'x' } }), 'method.distillation.teacher'],
    [asked({ aling: {} }), 'method.distillation.aling'],
  ])('refuses %j and says where', (change, path) => {
    expect(() => parseServiceSpec({ ...asked(), ...change })).toThrow(expect.objectContaining({ issues: [expect.objectContaining({ path })] }));
  });

  it('resolves to the spec of the same run by YAML', () => {
    const resolved = resolveServiceSpec(parseServiceSpec(asked()), { model: 'm', training_file: 't', validation_file: 'v', teacher: { base_url: 'http://t', model: 'x' } });

    expect(resolved).toEqual(parseSpec(minimal()));
    expect(specHash(parseServiceSpec(asked()))).toBe(specHash(resolved));
  });

  it('gives one hash however the fields were ordered, as a database may give them back', () => {
    const reversed = (value: unknown): unknown =>
      typeof value === 'object' && value !== null && !Array.isArray(value) ? Object.fromEntries(Object.entries(value).reverse().map(([key, field]) => [key, reversed(field)])) : value;
    const spec = parseServiceSpec(asked({ distill: { epochs: 2, learning_rate: 1e-3 } }));

    expect(specHash(parseServiceSpec(reversed(spec)))).toBe(specHash(spec));
  });

  it('has a JSON schema of what may be sent', () => {
    const schema = z.toJSONSchema(serviceDistillationSchema, { io: 'input' });

    expect(schema).toMatchObject({ type: 'object', required: ['teacher'], additionalProperties: false });
    expect(Object.keys(schema.properties ?? {})).toEqual(['teacher', 'targets', 'modes', 'collect', 'distill', 'align', 'optimizer', 'evaluate', 'checkpoint_every', 'micro_batch_tokens', 'recompute', 'export', 'controls']);
  });
});

import { z } from 'zod';

const positiveInteger = z.int().min(1);
const share = z.number().min(0).max(1);
const learningRate = z.number().positive();

const INTERVAL = 'a duration such as 5m, or steps: 2';
const duration = z.string().regex(/^\d+(\.\d+)?(ms|s|m|h)$/, INTERVAL);
const stepCount = z.strictObject({ steps: positiveInteger });

const truncation = z.literal('tail_bucket').default('tail_bucket');
const forwardKl = z.strictObject({ kind: z.literal('forward_kl'), truncation });
const reverseKl = z.strictObject({ kind: z.literal('reverse_kl'), truncation });
const hard = z.strictObject({ kind: z.literal('hard') });

const teacher = z.strictObject({
  dialect: z.literal('vllm'),
  base_url: z.url({ protocol: /^https?$/ }),
  /** Name of the environment variable that holds the key; left out, none is sent. */
  api_key_env: z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'the name of an environment variable').optional(),
  model: z.string().min(1),
});

const targets = z.strictObject({
  /** Ids kept at each position. 64 with a tail bucket: performance reference 3.0. */
  top_k: positiveInteger.max(65_534).default(64),
});

const modes = z
  .strictObject({ plain: z.number().min(0).default(0), think: z.number().min(0).default(0), no_think: z.number().min(0).default(0) })
  .refine((mix) => mix.plain + mix.think + mix.no_think > 0, 'at least one mode needs a share above 0');

const collect = z.strictObject({
  /** Answers the teacher writes to each training prompt. */
  samples_per_prompt: positiveInteger.default(1),
  /** Tokens, the stop id included. */
  max_tokens: positiveInteger.default(512),
  /** Of the teacher's sampling; targets are always those at temperature 1. 1 is unbiased. */
  temperature: z.number().min(0).default(1),
});

const distill = z.strictObject({
  loss: z.discriminatedUnion('kind', [forwardKl, reverseKl, hard]).prefault({ kind: 'forward_kl' }),
  /** Passes over the collected samples. */
  epochs: positiveInteger.default(3),
  /** Completion tokens that one optimiser step averages over. */
  loss_tokens_per_step: positiveInteger.default(1024),
  /** Peak of the schedule. 5e-5 is what peers settled on for full training of a ready student; a pruned one bears far more. */
  learning_rate: learningRate.default(5e-5),
});

const align = z.strictObject({
  loss: z.discriminatedUnion('kind', [reverseKl, forwardKl]).prefault({ kind: 'reverse_kl' }),
  /** Optimiser steps, one for each batch of rollouts; 0 leaves the stage out. */
  steps: z.int().min(0).default(12),
  /** Rollouts in a step, one for each prompt drawn. */
  prompts_per_step: positiveInteger.default(16),
  /** Tokens of a rollout, the stop id included. */
  max_tokens: positiveInteger.default(512),
  learning_rate: learningRate.default(2e-5),
});

/** AdamW. Defaults as performance reference 3: beta2 0.95 forgets within tens of steps, which short runs need. */
const optimizer = z.strictObject({
  beta1: z.number().min(0).lt(1).default(0.9),
  beta2: z.number().min(0).lt(1).default(0.95),
  eps: z.number().positive().default(1e-8),
  weight_decay: z.number().min(0).default(0),
  /** Largest L2 norm of a step's gradient. */
  clip: z.number().positive().default(1),
  schedule: z.enum(['cosine', 'linear', 'constant']).default('cosine'),
  /** Share of a stage's steps that climb to the peak. */
  warmup: share.default(0.1),
});

const evaluate = z.strictObject({
  /** Held-out prompts, taken from the head of the validation file. */
  prompts: positiveInteger.default(48),
  /** Rollouts of the student to each of them; more make the reverse KL's interval narrower at the teacher's cost. */
  rollouts_per_prompt: positiveInteger.default(1),
  max_tokens: positiveInteger.default(512),
});

/** The fields of `method.distillation` that the YAML and the service share. */
const shared = {
  targets: targets.prefault({}),
  modes: modes.prefault({ plain: 1 }),
  collect: collect.prefault({}),
  distill: distill.prefault({}),
  align: align.prefault({}),
  optimizer: optimizer.prefault({}),
  evaluate: evaluate.prefault({}),
  /** Wall time between checkpoints, or steps between them. Stages also end with one. */
  checkpoint_every: z.union([duration, stepCount], { error: INTERVAL }).default('5m'),
  /** Most tokens the engine works on at once; a longer single sequence goes alone. Equal bits need an equal cut, so it belongs to the spec. */
  micro_batch_tokens: positiveInteger.default(2048),
  /** What training computes again on the way back instead of keeping it: nothing, or every layer, for less memory and more time. The student is the same. */
  recompute: z.enum(['none', 'layers']).default('none'),
  export: z
    .array(z.enum(['safetensors', 'onnx']))
    .refine((kinds) => kinds.includes('safetensors') && new Set(kinds).size === kinds.length, 'a list of safetensors and, if wanted, onnx, each once')
    .default(['safetensors', 'onnx']),
  /** Whether the run ends by training the `hard` control and scoring the unigram control. */
  controls: z.enum(['none', 'all']).default('none'),
};

/** The fields beside `model` and the files that the YAML and the service share. */
const aroundDistillation = {
  /** Of every random number of the run. */
  seed: z.int().min(0).default(0),
  /** Goes into the student's name. */
  suffix: z.string().regex(/^[A-Za-z0-9._-]{1,64}$/, '1 to 64 of A-Z a-z 0-9 . _ -').default('student'),
};

/** `method.distillation` of the YAML. */
export const distillationSchema = z.strictObject({ teacher, ...shared });

/** The YAML. */
export const specSchema = z.strictObject({
  /** A Hugging Face directory: the student to train. */
  model: z.string().min(1),
  /** JSONL of training prompts. */
  training_file: z.string().min(1),
  /** JSONL of held-out prompts. */
  validation_file: z.string().min(1),
  ...aroundDistillation,
  method: z.strictObject({ type: z.literal('distillation'), distillation: distillationSchema }),
});

/** `method.distillation` over REST: the block of the YAML, the teacher by its id. */
export const serviceDistillationSchema = z.strictObject({ teacher: idOf('teacher'), ...shared });

/** A run as the service is asked for it: everything by its id or name. */
export const serviceSpecSchema = z.strictObject({
  /** Name of the student to train. */
  model: z.string().regex(/^(?!.*[.][.])[a-z0-9][a-z0-9._-]{0,62}$/, 'the name of a model: 1 to 63 of a-z 0-9 . _ -, beginning with a letter or digit, without ..'),
  training_file: idOf('file'),
  validation_file: idOf('file'),
  ...aroundDistillation,
  method: z.strictObject({ type: z.literal('distillation'), distillation: serviceDistillationSchema }),
});

function idOf(prefix: string) {
  return z.string().regex(new RegExp(`^${prefix}-[0-9A-Za-z]{1,64}$`), `an id such as ${prefix}-…`);
}

import { createHash } from 'node:crypto';
import { z } from 'zod';
import { SpecInvalid } from './distillation.errors.js';

const positiveInteger = z.int().min(1);
const share = z.number().min(0).max(1);
const learningRate = z.number().positive();

/** Milliseconds of each unit a duration may end in. */
const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

const duration = z
  .string()
  .regex(/^\d+(\.\d+)?(ms|s|m|h)$/, 'a duration is a number with ms, s, m or h behind it, such as 5m')
  .transform((text) => ({ kind: 'time' as const, everyMs: Number.parseFloat(text) * UNIT_MS[text.replace(/[\d.]/g, '')] }));

const stepCount = z.strictObject({ steps: positiveInteger }).transform(({ steps }) => ({ kind: 'steps' as const, every: steps }));

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

const distillation = z.strictObject({
  teacher,
  targets: targets.prefault({}),
  modes: modes.prefault({ plain: 1 }),
  collect: collect.prefault({}),
  distill: distill.prefault({}),
  align: align.prefault({}),
  optimizer: optimizer.prefault({}),
  evaluate: evaluate.prefault({}),
  /** Wall time between checkpoints, or steps between them. Stages also end with one. */
  checkpoint_every: z.union([duration, stepCount], { error: 'a duration such as 5m, or steps: 2' }).prefault('5m'),
  /** Most tokens the engine works on at once; a longer single sequence goes alone. Equal bits need an equal cut, so it belongs to the spec. */
  micro_batch_tokens: positiveInteger.default(2048),
  export: z
    .array(z.enum(['safetensors', 'onnx']))
    .refine((kinds) => kinds.includes('safetensors') && new Set(kinds).size === kinds.length, 'a list of safetensors and, if wanted, onnx, each once')
    .default(['safetensors', 'onnx']),
});

const spec = z.strictObject({
  /** A Hugging Face directory: the student to train. */
  model: z.string().min(1),
  /** JSONL of training prompts. */
  training_file: z.string().min(1),
  /** JSONL of held-out prompts. */
  validation_file: z.string().min(1),
  /** Of every random number of the run. */
  seed: z.int().min(0).default(0),
  /** Goes into the student's name. */
  suffix: z.string().regex(/^[A-Za-z0-9._-]{1,64}$/, '1 to 64 of A-Z a-z 0-9 . _ -').default('student'),
  method: z.strictObject({ type: z.literal('distillation'), distillation }),
});

/** A whole run, every default filled in; field names are those of the YAML. Paths and addresses are as written, not resolved. */
export type Spec = z.output<typeof spec>;
/** The field `method.distillation` of the spec. */
export type DistillationSpec = Spec['method']['distillation'];
/** AdamW and its schedule. */
export type OptimizerSpec = DistillationSpec['optimizer'];
/** How often a loop writes a checkpoint. */
export type CheckpointEvery = DistillationSpec['checkpoint_every'];

/**
 * Checks a parsed YAML or JSON value and fills the defaults in.
 * @throws SpecInvalid with one line for each fault: its path, what was wrong, what would be right.
 */
export function parseSpec(value: unknown): Spec {
  const result = spec.safeParse(value);
  if (result.success) return result.data;
  throw new SpecInvalid(['the spec is invalid:', ...result.error.issues.flatMap(describeIssue)].join('\n  '));
}

/** Hash of everything in the spec that decides the run's result; the addresses of model, files and teacher are left out. */
export function specHash({ method, seed }: Spec): string {
  const decisive = Object.entries(method.distillation).filter(([field]) => field !== 'teacher' && field !== 'checkpoint_every');
  return createHash('sha256').update(JSON.stringify({ seed, decisive })).digest('hex');
}

function describeIssue(issue: z.core.$ZodIssue): string[] {
  const where = issue.path.join('.') || '(top level)';
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => `${[...issue.path, key].join('.')}: unknown key; ${allowedKeys(issue.path)}`);
  }
  return [`${where}: ${issue.message}`];
}

/** Names the keys that would have been right beside an unknown one. */
function allowedKeys(path: readonly PropertyKey[]): string {
  let schema: unknown = spec;
  for (const part of path) schema = childSchema(schema, part);
  const shape = shapeOf(schema);
  return shape ? `known here: ${Object.keys(shape).join(', ')}` : 'remove it';
}

function childSchema(schema: unknown, part: PropertyKey): unknown {
  return shapeOf(schema)?.[String(part)];
}

function shapeOf(schema: unknown): Record<string, unknown> | undefined {
  let inner = schema;
  while (inner instanceof z.ZodPrefault || inner instanceof z.ZodDefault || inner instanceof z.ZodOptional) inner = inner.unwrap();
  return inner instanceof z.ZodObject ? inner.shape : undefined;
}

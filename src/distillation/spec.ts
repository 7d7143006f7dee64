import { createHash } from 'node:crypto';
import { z } from 'zod';
import { SpecInvalid, type SpecIssue } from './distillation.errors.js';
import { serviceSpecSchema, specSchema } from './spec-schema.js';

export { distillationSchema, serviceDistillationSchema, serviceSpecSchema, specSchema } from './spec-schema.js';

/** A whole run, every default filled in; field names are those of the YAML. Paths and addresses are as written, not resolved. */
export type Spec = z.output<typeof specSchema>;
/** The field `method.distillation` of the spec. */
export type DistillationSpec = Spec['method']['distillation'];
/** AdamW and its schedule. */
export type OptimizerSpec = DistillationSpec['optimizer'];
/** A run as the service keeps it: JSON with every default filled in, which `parseServiceSpec` reads back unchanged. */
export type ServiceSpec = z.output<typeof serviceSpecSchema>;

/** How often a loop writes a checkpoint. */
export type CheckpointInterval = { readonly kind: 'time'; readonly everyMs: number } | { readonly kind: 'steps'; readonly every: number };

/**
 * Checks a parsed YAML or JSON value and fills the defaults in.
 * @throws SpecInvalid with one line for each fault: its path, what was wrong, what would be right.
 */
export function parseSpec(value: unknown): Spec {
  return parseBy(specSchema, value);
}

/** As `parseSpec`, for the form in which the service is asked. @throws SpecInvalid */
export function parseServiceSpec(value: unknown): ServiceSpec {
  return parseBy(serviceSpecSchema, value);
}

/** What the ids of a service spec stand for. */
export interface ResolvedInputs {
  /** The student's directory. */
  readonly model: string;
  readonly training_file: string;
  readonly validation_file: string;
  /** A teacher of the dialect `vllm`. */
  readonly teacher: { readonly base_url: string; readonly model: string };
}

/** The spec that the core runs for one of the service; hashes of equal runs are equal whichever way they came. */
export function resolveServiceSpec({ method, ...rest }: ServiceSpec, { teacher, ...inputs }: ResolvedInputs): Spec {
  return { ...rest, ...inputs, method: { ...method, distillation: { ...method.distillation, teacher: { dialect: 'vllm', ...teacher } } } };
}

/** Fields without a say in the student's weights. */
const INDECISIVE: readonly string[] = ['teacher', 'checkpoint_every', 'controls'];

/** Hash of everything in the spec that decides the student; addresses of model, files and teacher, checkpoints and controls are left out. Only of parsed specs: it depends on the order of their fields. */
export function specHash({ method, seed }: Pick<Spec | ServiceSpec, 'method' | 'seed'>): string {
  const decisive = Object.entries(method.distillation).filter(([field]) => !INDECISIVE.includes(field));
  return createHash('sha256').update(JSON.stringify({ seed, decisive })).digest('hex');
}

/** Milliseconds of each unit a duration may end in. */
const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** Reads the field `checkpoint_every`. */
export function checkpointInterval(every: DistillationSpec['checkpoint_every']): CheckpointInterval {
  if (typeof every === 'object') return { kind: 'steps', every: every.steps };
  return { kind: 'time', everyMs: Number.parseFloat(every) * UNIT_MS[every.replace(/[\d.]/g, '')] };
}

function parseBy<Schema extends z.ZodType>(schema: Schema, value: unknown): z.output<Schema> {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw new SpecInvalid(result.error.issues.flatMap((issue) => describeIssue(schema, issue)));
}

function describeIssue(schema: z.ZodType, issue: z.core.$ZodIssue): SpecIssue[] {
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({ path: [...issue.path, key].join('.'), message: `unknown key; ${allowedKeys(schema, issue.path)}` }));
  }
  return [{ path: issue.path.join('.'), message: issue.message }];
}

/** Names the keys that would have been right beside an unknown one. */
function allowedKeys(schema: z.ZodType, path: readonly PropertyKey[]): string {
  let place: unknown = schema;
  for (const part of path) place = shapeOf(place)?.[String(part)];
  const shape = shapeOf(place);
  return shape ? `known here: ${Object.keys(shape).join(', ')}` : 'remove it';
}

function shapeOf(schema: unknown): Record<string, unknown> | undefined {
  let inner = schema;
  while (inner instanceof z.ZodPrefault || inner instanceof z.ZodDefault || inner instanceof z.ZodOptional) inner = inner.unwrap();
  return inner instanceof z.ZodObject ? inner.shape : undefined;
}

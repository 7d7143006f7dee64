import { availableParallelism } from 'node:os';
import { z } from 'zod';
import { AppError } from '../common/errors.js';

/** What the embedded teacher serves and how; every field but `modelDir` has a default. */
export const TeacherSettings = z.strictObject({
  /** A Hugging Face model directory. */
  modelDir: z.string().min(1),
  /**
   * What runs the model. `onnx`: onnxruntime in float32, on the `teacher.onnx` that is built into the directory when missing or older than the weights.
   * `native`: the engine's own operations in bf16, on the safetensors as they are, for contexts as long as the model's.
   */
  runtime: z.enum(['onnx', 'native']).default('onnx'),
  host: z.string().min(1).default('127.0.0.1'),
  /** 0 takes a free port. */
  port: z.coerce.number().int().min(0).max(65_535).default(8000),
  /** When set, `/v1` asks for it as a bearer token. */
  apiKey: z.string().min(1).optional(),
  /** Largest `logprobs` and `prompt_logprobs` a request may ask for; vLLM's flag of the same name, whose default is 20. */
  maxLogprobs: z.coerce.number().int().min(1).default(64),
  /** The name requests give as `model`; by default the directory's own. */
  modelName: z.string().min(1).optional(),
  /** Longest sequence in tokens, prompt and completion together; by default what the model allows, with `onnx` at most 1024. */
  maxModelLen: z.coerce.number().int().min(2).optional(),
  /** Threads of the model's arithmetic. */
  threads: z.coerce.number().int().min(1).default(availableParallelism()),
  /** Sequences that generate together; a further as many may be scored beside them. */
  maxSequences: z.coerce.number().int().min(1).default(32),
  /** Sequences that may wait for a place; requests beyond are answered 429. */
  queueLimit: z.coerce.number().int().min(1).default(1024),
  /** What a 429 tells the client to wait, in seconds. */
  retryAfterSeconds: z.coerce.number().int().min(1).default(1),
  /** Largest request body in bytes. */
  maxBodyBytes: z.coerce.number().int().min(1024).default(32 * 2 ** 20),
  /** How long a stopping server lets running requests finish, in milliseconds. */
  shutdownGraceMs: z.coerce.number().int().min(0).default(10_000),
});
/** What can run a served model. */
export type TeacherRuntimeName = z.output<typeof TeacherSettings>['runtime'];
export type TeacherSettings = z.output<typeof TeacherSettings>;
export type TeacherSettingsInput = z.input<typeof TeacherSettings>;

/** A setting of the teacher server is unknown, malformed or missing; names each. */
export class TeacherSettingsInvalid extends AppError {
  readonly code = 'config.teacher_settings_invalid';
  readonly kind = 'invalid';
}

const VARIABLE_PREFIX = 'LIMBECK_TEACHER_';

/** @throws TeacherSettingsInvalid */
export function parseTeacherSettings(input: TeacherSettingsInput): TeacherSettings {
  return parse(input, (field) => field);
}

/**
 * Reads `LIMBECK_TEACHER_MODEL_DIR`, `LIMBECK_TEACHER_PORT`, …: each field of `TeacherSettings` in capitals.
 * @throws TeacherSettingsInvalid, unknown variables with this prefix included.
 */
export function teacherSettingsFromEnvironment(): TeacherSettings {
  const named = Object.entries(process.env).filter(([name]) => name.startsWith(VARIABLE_PREFIX));
  return parse(Object.fromEntries(named.map(([name, value]) => [fieldOf(name), value])), variableOf);
}

/** The variables that hand settings to a server process of its own; the inverse of `teacherSettingsFromEnvironment`. */
export function teacherEnvironment(input: TeacherSettingsInput): Record<string, string> {
  const given = Object.entries(parseTeacherSettings(input)).filter(([, value]) => value !== undefined);
  return Object.fromEntries(given.map(([field, value]) => [variableOf(field), String(value)]));
}

function parse(input: unknown, nameOf: (field: string) => string): TeacherSettings {
  const parsed = TeacherSettings.safeParse(input);
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.flatMap((issue) =>
    issue.code === 'unrecognized_keys' ? issue.keys.map((key) => `${nameOf(key)} is not a setting`) : [`${nameOf(issue.path.join('.'))}: ${issue.message}`],
  );
  throw new TeacherSettingsInvalid(`the teacher server cannot start: ${faults.join('; ')}`);
}

function fieldOf(variable: string): string {
  return variable.slice(VARIABLE_PREFIX.length).toLowerCase().replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());
}

function variableOf(field: string): string {
  return VARIABLE_PREFIX + field.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase();
}

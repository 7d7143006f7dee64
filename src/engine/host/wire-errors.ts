import { Aborted, AppError, type ErrorKind } from '../../common/errors.js';
import { BatchInvalid } from '../../tokens/batch.js';
import { TargetInvalid } from '../../tokens/target.js';
import { BatchTooLarge, CheckpointInvalid, EngineFailed, GradientNotFinite, ModelTooLarge, RequestInvalid, WriteFailed } from '../engine.js';
import type { WireError } from './protocol.js';

const ABORTED_SUFFIX = ' was stopped on request';

/** An error of the engine process without a class on this side; code, kind and message are those it was raised with. */
export class RevivedError extends AppError {
  readonly code: `${string}.${string}`;
  readonly kind: ErrorKind;

  constructor(error: WireError) {
    super(error.message);
    const [room, what] = error.code.split('.', 2);
    this.code = `${room}.${what}`;
    this.kind = error.kind;
  }
}

const revivers: Readonly<Record<string, (message: string) => AppError>> = {
  'common.aborted': (message) => new Aborted(message.endsWith(ABORTED_SUFFIX) ? message.slice(0, -ABORTED_SUFFIX.length) : message),
  'tokens.batch_invalid': (message) => new BatchInvalid(message),
  'tokens.target_invalid': (message) => new TargetInvalid(message),
  'engine.batch_too_large': (message) => new BatchTooLarge(message),
  'engine.model_too_large': (message) => new ModelTooLarge(message),
  'engine.request_invalid': (message) => new RequestInvalid(message),
  'engine.gradient_not_finite': (message) => new GradientNotFinite(message),
  'engine.checkpoint_invalid': (message) => new CheckpointInvalid(message),
  'engine.write_failed': (message) => new WriteFailed(message),
  'engine.failed': (message) => new EngineFailed(message),
};

/** An error for the way to the other process. What is not an `AppError` broke the engine: it travels as `engine.failed` with its stack. */
export function toWire(error: unknown): WireError {
  if (error instanceof AppError) return { code: error.code, kind: error.kind, message: error.message };
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { code: 'engine.failed', kind: 'unavailable', message: `the engine process broke: ${text}` };
}

/** The error again: of its own class where the seam declares one, else a `RevivedError`. */
export function fromWire(error: WireError): AppError {
  return revivers[error.code]?.(error.message) ?? new RevivedError(error);
}

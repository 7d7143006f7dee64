import { expect, test } from 'vitest';
import { Aborted, AppError } from '../../common/errors.js';
import { BatchInvalid } from '../../tokens/batch.js';
import { TargetInvalid } from '../../tokens/target.js';
import { BatchTooLarge, CheckpointInvalid, EngineFailed, GradientNotFinite, ModelTooLarge, RequestInvalid, WriteFailed } from '../engine.js';
import { fromWire, RevivedError, toWire } from './wire-errors.js';

const seamErrors = [
  new Aborted('sampling'), new BatchInvalid('a'), new TargetInvalid('b'), new BatchTooLarge('c'), new ModelTooLarge('m'), new CheckpointInvalid('d'), new EngineFailed('e'),
  new GradientNotFinite('f'), new RequestInvalid('g'), new WriteFailed('h'),
];

test.each(seamErrors.map((error) => [error.name, error] as const))('%s comes back as itself', (_name, error) => {
  const revived = fromWire(toWire(error));
  expect(revived).toBeInstanceOf(error.constructor);
  expect({ code: revived.code, kind: revived.kind, message: revived.message }).toEqual({ code: error.code, kind: error.kind, message: error.message });
});

test('an error of another room keeps code, kind, message and what follows from the kind', () => {
  class ModelDamaged extends AppError {
    readonly code = 'model_files.damaged';
    readonly kind = 'unavailable';
  }
  const revived = fromWire(toWire(new ModelDamaged('bad header')));
  expect(revived).toBeInstanceOf(RevivedError);
  expect(revived).toMatchObject({ code: 'model_files.damaged', kind: 'unavailable', message: 'bad header', retryable: true });
});

test('anything else arrives as a broken engine, with its text', () => {
  const revived = fromWire(toWire(new TypeError('x is not a function')));
  expect(revived).toBeInstanceOf(EngineFailed);
  expect(revived.message).toContain('TypeError: x is not a function');
});

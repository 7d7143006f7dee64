import { QueryFailedError } from 'typeorm';
import { describe, expect, it } from 'vitest';
import { isGivenUp, isUnavailable, isViolation } from './violations.js';

const withCode = (code: string, constraint?: string): Error => Object.assign(new Error('refused'), { code, constraint });
const failed = (driverError: Error): Error => new QueryFailedError('insert', [], driverError);

describe('violations', () => {
  it('are known by their state and constraint, behind TypeORM or not', () => {
    expect(isViolation(withCode('23505', 'models_pkey'), 'unique')).toBe(true);
    expect(isViolation(failed(withCode('23505', 'models_pkey')), 'unique', 'models_pkey')).toBe(true);
    expect(isViolation(failed(withCode('23505', 'models_pkey')), 'unique', 'models_place_key')).toBe(false);
    expect(isViolation(withCode('23503'), 'unique')).toBe(false);
    expect(isViolation(failed(withCode('23503', 'runs_model_fkey')), 'foreign_key', 'runs_model_fkey')).toBe(true);
    expect(isViolation(undefined, 'foreign_key')).toBe(false);
  });
});

describe('isUnavailable', () => {
  it.each(['57P01', '57P03', '08006', '53300', 'ECONNREFUSED', 'ECONNRESET'])('holds for %s', (code) => {
    expect(isUnavailable(failed(withCode(code)))).toBe(true);
  });

  it('holds for what the driver says without a code, and for every address of a name refused', () => {
    expect(isUnavailable(new Error('Connection terminated unexpectedly'))).toBe(true);
    expect(isUnavailable(new Error('timeout exceeded when trying to connect'))).toBe(true);
    expect(isUnavailable(new AggregateError([withCode('ECONNREFUSED'), withCode('ECONNREFUSED')]))).toBe(true);
  });

  it('does not hold for a statement that the database refused, or a bug', () => {
    expect(isUnavailable(failed(withCode('23505')))).toBe(false);
    expect(isUnavailable(failed(withCode('57014')))).toBe(false);
    expect(isUnavailable(new TypeError('x is undefined'))).toBe(false);
    expect(isUnavailable('57P01')).toBe(false);
  });
});

describe('isGivenUp', () => {
  it.each(['40001', '40P01', '55P03', '57014'])('holds for %s', (code) => {
    expect(isGivenUp(failed(withCode(code)))).toBe(true);
    expect(isUnavailable(failed(withCode(code)))).toBe(false);
  });

  it('does not hold for what repeating does not help', () => {
    expect(['23505', '42601', '57P01'].map((code) => isGivenUp(failed(withCode(code))))).toEqual([false, false, false]);
    expect(isGivenUp(new TypeError('x is undefined'))).toBe(false);
  });
});

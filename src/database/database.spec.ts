import { QueryFailedError } from 'typeorm';
import { describe, expect, it } from 'vitest';
import { AppError } from '../common/errors.js';
import { httpStatusOf } from '../http/http-status.js';
import { named } from './database.js';

const failing = (code: string): Promise<never> => Promise.reject(new QueryFailedError('update runs', [], Object.assign(new Error('refused'), { code })));

async function failureOf(code: string): Promise<unknown> {
  return named(failing(code)).catch((error: unknown) => error);
}

describe('named', () => {
  it.each([
    ['57014', 'database.busy'],
    ['55P03', 'database.busy'],
    ['40P01', 'database.busy'],
    ['40001', 'database.busy'],
    ['57P01', 'database.unavailable'],
    ['ECONNREFUSED', 'database.unavailable'],
  ])('makes of %s a failure that asks to be repeated, %s', async (state, code) => {
    const error = (await failureOf(state)) as AppError;
    expect([error.code, error.retryable, httpStatusOf(error.kind)]).toEqual([code, true, 503]);
    expect(error.cause).toMatchObject({ code: state });
  });

  it('leaves every other failure as it is', async () => {
    expect(await failureOf('23505')).toBeInstanceOf(QueryFailedError);
    expect(await named(Promise.resolve(7))).toBe(7);
  });
});

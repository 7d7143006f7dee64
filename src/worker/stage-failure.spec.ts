import { describe, expect, it } from 'vitest';
import { Aborted, AppError } from '../common/errors.js';
import { failureOf, isStopped } from './stage-failure.js';

class Refused extends AppError {
  readonly code = 'teacher.refused';
  readonly kind = 'invalid';
}
const live = new AbortController().signal;
const dead = AbortSignal.abort();

describe('isStopped', () => {
  it.each([
    ['an abort that was ordered', new Aborted('work'), 'pause' as const, live, true],
    ['an abort that nobody ordered', new Aborted('work'), undefined, live, false],
    ['a failure after an order', new Refused('no'), 'cancel' as const, live, false],
    ['whatever a killed engine throws', new Refused('dead'), 'shutdown' as const, dead, true],
  ])('judges %s', (_, error, reason, killSignal, expected) => {
    expect(isStopped(error, { reason, killSignal })).toBe(expected);
  });
});

describe('failureOf', () => {
  it('tells of an error of ours in full, in letters that can be stored', () => {
    expect(failureOf(new Refused('said \0 no', { param: 'teacher' }))).toEqual({ code: 'teacher.refused', message: 'said \uFFFD no', param: 'teacher' });
  });

  it('tells nothing of another', () => {
    const { code, message } = failureOf(new TypeError('secret of /home/somebody'));

    expect(code).toBe('internal.error');
    expect(message).not.toContain('secret');
  });
});

import { describe, expect, it } from 'vitest';
import { Aborted, AppError } from '../common/errors.js';
import { DatabaseBusy } from '../database/database.errors.js';
import { NoValidCheckpoint } from '../distillation/distillation.errors.js';
import { EngineFailed, GradientNotFinite, WriteFailed } from '../engine/engine.js';
import { fromWire } from '../engine/host/wire-errors.js';
import { DiskFull } from '../storage/storage.errors.js';
import { TeacherAway } from '../teacher-clients/teacher-client.js';
import { isStopped, outcomeOf } from './stage-failure.js';

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

describe('outcomeOf', () => {
  it('tells of an error of ours in full, in letters that can be stored', () => {
    expect(outcomeOf(new Refused('said \0 no', { param: 'teacher' }))).toEqual({ kind: 'failed', by: 'teacher', error: { code: 'teacher.refused', message: 'said \uFFFD no', param: 'teacher' } });
  });

  it('tells nothing of another', () => {
    const outcome = outcomeOf(new TypeError('secret of /home/somebody'));

    expect(outcome).toMatchObject({ kind: 'failed', by: 'invalid', error: { code: 'internal.error' } });
    expect(JSON.stringify(outcome)).not.toContain('secret');
  });

  it.each([
    ['a dead engine', new EngineFailed('killed'), 'trainer_error'],
    ['a file the engine could not write', new WriteFailed('EIO'), 'infra'],
    ['a fault of the system', Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO', syscall: 'read' }), 'infra'],
    ['a database that answers too late', new DatabaseBusy('slow'), 'infra'],
    ['a gradient that is no number', new GradientNotFinite('NaN'), 'invalid'],
    ['checkpoints that are all damaged', new NoValidCheckpoint('none'), 'invalid'],
  ])('says whose fault %s is', (_, error, by) => {
    expect(outcomeOf(error)).toMatchObject({ kind: 'failed', by });
  });

  it('lets a run wait for what is not its fault', () => {
    const pause = { kind: 'paused', cause: { code: 'storage.disk_full', message: 'no room', param: null } };

    expect(outcomeOf(new DiskFull('no room'))).toEqual(pause);
    expect(outcomeOf(fromWire({ code: 'model_files.disk_full', kind: 'unavailable', message: 'no room' }))).toEqual(pause);
    expect(outcomeOf(new TeacherAway('gone'))).toEqual({ kind: 'paused', cause: { code: 'teacher.away', message: 'gone', param: null } });
  });
});

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { LeaseAnswer } from '../runs/stage-ledger.service.js';
import { DatabaseBusy, DatabaseUnavailable } from '../database/database.errors.js';
import { Hold } from './hold.js';

const claim = { runId: 'ftjob-1', stageId: 7, stage: 'distill', epoch: 3, leaseMs: 60_000 } as const;
const failures: unknown[] = [];
let renew: ReturnType<typeof vi.fn<() => Promise<LeaseAnswer>>>;
let hold: Hold;

beforeEach(() => {
  vi.useFakeTimers();
  failures.length = 0;
  renew = vi.fn<() => Promise<LeaseAnswer>>(async () => 'go');
  hold = new Hold({ claim, renew, renewMs: 15_000, retryMs: 1_000, onRenewalFailed: (error) => failures.push(error) });
});
afterEach(() => {
  hold.end();
  vi.useRealTimers();
});

const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);
const state = () => ({ reason: hold.reason, stopped: hold.stopSignal.aborted, killed: hold.killSignal.aborted });

describe('Hold', () => {
  it('renews at its interval and goes on as long as it may', async () => {
    await pass(600_000);

    expect(renew).toHaveBeenCalledTimes(40);
    expect(state()).toEqual({ reason: undefined, stopped: false, killed: false });
  });

  it.each(['pause', 'cancel'] as const)('stops at a step boundary for a %s, and keeps the lease meanwhile', async (order) => {
    renew.mockResolvedValue(order);

    await pass(120_000);

    expect(state()).toEqual({ reason: order, stopped: true, killed: false });
    expect(renew.mock.calls.length).toBeGreaterThan(5);
  });

  it('kills the work once the stage is lost, and renews no more', async () => {
    renew.mockResolvedValue('lost');

    await pass(120_000);

    expect(state()).toEqual({ reason: 'lost', stopped: true, killed: true });
    expect(renew).toHaveBeenCalledTimes(1);
  });

  it('kills the work two thirds into a lease that it cannot renew', async () => {
    renew.mockRejectedValue(new Error('no database'));

    await pass(39_999);
    const before = state();
    await pass(1);

    expect(before).toEqual({ reason: undefined, stopped: false, killed: false });
    expect(state()).toEqual({ reason: 'lost', stopped: true, killed: true });
    expect(failures.length).toBe(2);
  });

  it('counts a lease from when its renewal was sent, not from its answer', async () => {
    renew.mockImplementationOnce(() => new Promise((resolve) => setTimeout(() => resolve('go'), 20_000))).mockRejectedValue(new Error('no database'));

    await pass(54_999);
    const before = state().killed;
    await pass(1);

    expect([before, state().killed]).toEqual([false, true]); // sent at 15 s, so good until 55 s
  });

  it('looks at once when told that there may be orders, also while a renewal is on its way', async () => {
    let answer: (given: LeaseAnswer) => void = () => undefined;
    renew.mockImplementationOnce(() => new Promise((resolve) => (answer = resolve)));
    hold.look();
    renew.mockResolvedValue('pause');
    hold.look();

    answer('go');
    await pass(0);

    expect(renew).toHaveBeenCalledTimes(2);
    expect(hold.reason).toBe('pause');
  });

  it('keeps the first reason to stop, unless the stage is lost', () => {
    hold.stop('pause');
    hold.stop('shutdown');
    expect(hold.reason).toBe('pause');

    hold.stop('lost');
    expect(state()).toEqual({ reason: 'lost', stopped: true, killed: true });
  });

  it('does nothing after its end', async () => {
    renew.mockResolvedValue('lost');
    hold.end();

    await pass(120_000);

    expect(renew).not.toHaveBeenCalled();
    expect(state().stopped).toBe(false);
  });

  it('does a write again while the database is away or too busy, and gives up when it is killed', async () => {
    const away = new DatabaseUnavailable(new Error('down'));
    const write = vi.fn<() => Promise<string>>().mockRejectedValueOnce(away).mockRejectedValueOnce(new DatabaseBusy(new Error('deadlock'))).mockResolvedValue('done');
    const written = hold.patiently(write);
    await pass(2_000);
    expect(await written).toBe('done');

    const never = hold.patiently(() => Promise.reject(away)).catch((error: unknown) => error);
    await pass(5_000);
    hold.kill();
    expect(await never).toBe(away);
  });

  it('does a write once that fails for its own reasons', async () => {
    const write = vi.fn(() => Promise.reject(new Error('wrong')));

    await expect(hold.patiently(write)).rejects.toThrow('wrong');

    expect(write).toHaveBeenCalledTimes(1);
  });
});

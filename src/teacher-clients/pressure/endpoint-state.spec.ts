import { describe, expect, it } from 'vitest';
import { advance, DEFAULT_RULES, freshEndpoint, NOTHING_HAPPENED, probed, type EndpointState, type PressureReport } from './endpoint-state.js';

const rules = { ...DEFAULT_RULES, concurrency: 4, concurrencyMost: 8 };
const after = (state: EndpointState, now: number, report: Partial<PressureReport>): EndpointState => advance(state, { ...NOTHING_HAPPENED, ...report }, { now, rules });

describe('the limit of an endpoint', () => {
  it('grows by one for each full window of clean successes, up to the most', () => {
    const four = freshEndpoint(rules);
    const five = after(four, 1, { clean: 4 });
    expect([five.concurrency, after(five, 2, { clean: 5 }).concurrency, after(five, 3, { clean: 500 }).concurrency]).toEqual([5, 6, 8]);
  });

  it('is halved once a round trip, and never below one', () => {
    const cut = after(freshEndpoint(rules), 100, { slowAgeMs: 30 });
    const sentBefore = after(cut, 120, { slowAgeMs: 21 });
    const sentAfter = after(cut, 120, { slowAgeMs: 19 });
    expect([cut.concurrency, sentBefore.concurrency, sentAfter.concurrency, after(sentAfter, 200, { slowAgeMs: 0 }).concurrency]).toEqual([2, 2, 1, 1]);
  });

  it('is held until the latest time that was asked for, at most ten minutes', () => {
    const held = after(freshEndpoint(rules), 1_000, { heldMs: 30_000 });
    expect([held.heldUntil, after(held, 2_000, { heldMs: 5_000 }).heldUntil, after(held, 2_000, { heldMs: 9_999_999 }).heldUntil]).toEqual([31_000, 31_000, 602_000]);
  });
});

describe('the circuit', () => {
  it.each([
    ['half of twenty calls', { calls: 20, failures: 10 }, true],
    ['fewer than half', { calls: 21, failures: 10 }, false],
    ['all of nineteen', { calls: 19, failures: 19 }, false],
    ['all of six, and one request out of tries', { calls: 6, failures: 6, gaveUp: true }, true],
    ['a request out of tries while most are answered', { calls: 20, failures: 6, gaveUp: true }, false],
  ])('judges %s', (_, report, opens) => {
    expect(after(freshEndpoint(rules), 5_000, report).openedAt).toBe(opens ? 5_000 : null);
  });

  it('adds up reports, and forgets what is older than thirty seconds', () => {
    const once = after(freshEndpoint(rules), 1_000_000, { calls: 10, failures: 10 });
    expect(after(once, 1_020_000, { calls: 10, failures: 10 }).openedAt).toBe(1_020_000);
    expect(after(once, 1_031_000, { calls: 10, failures: 10 }).openedAt).toBeNull();
  });

  it('is probed after 15 s, then after twice as long each time, at most 5 min', () => {
    let state = after(freshEndpoint(rules), 0, { calls: 20, failures: 20 });
    const waits = [state.probeAt];
    for (let probe = 0; probe < 6; probe++) {
      state = probed(state, 'failed', { now: 0, rules });
      waits.push(state.probeAt);
    }
    expect(waits).toEqual([15_000, 30_000, 60_000, 120_000, 240_000, 300_000, 300_000]);
  });

  it('closes with an answered probe, and remembers no failure from before', () => {
    const open = after(freshEndpoint(rules), 100, { calls: 20, failures: 20 });
    const closed = probed(open, 'answered', { now: 15_100, rules });
    expect([closed.openedAt, closed.probeAt]).toEqual([null, null]);
    expect(after(closed, 15_200, { calls: 19, failures: 19 }).openedAt).toBeNull();
  });
});

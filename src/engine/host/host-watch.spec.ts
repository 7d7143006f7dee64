import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { HostWatch } from './host-watch.js';

const SILENCE_MS = 800;
let ended: number;
let watch: HostWatch;

beforeEach(() => {
  vi.useFakeTimers();
  ended = 0;
  watch = new HostWatch(SILENCE_MS, () => ended++, Date.now);
});
afterEach(() => {
  watch.end();
  vi.useRealTimers();
});

it('ends the process after the longest silence, within a quarter of it, and once', () => {
  vi.advanceTimersByTime(SILENCE_MS);
  expect(ended).toBe(0);
  vi.advanceTimersByTime(SILENCE_MS / 4);
  expect(ended).toBe(1);
  vi.advanceTimersByTime(10 * SILENCE_MS);
  expect(ended).toBe(1);
});

it('never ends it while words come', () => {
  for (let words = 0; words < 50; words++) {
    vi.advanceTimersByTime(SILENCE_MS - 1);
    watch.hear();
  }
  expect(ended).toBe(0);
});

it('forgives a silence in which this process could not listen: words read after the first look count', () => {
  vi.setSystemTime(Date.now() + 100 * SILENCE_MS); // the thread computed, and no timer ran
  vi.advanceTimersByTime(SILENCE_MS / 8);
  watch.hear();
  vi.advanceTimersByTime(SILENCE_MS / 2);
  expect(ended).toBe(0);
});

it('looks no more once it is ended', () => {
  watch.end();
  vi.advanceTimersByTime(10 * SILENCE_MS);
  expect(ended).toBe(0);
});

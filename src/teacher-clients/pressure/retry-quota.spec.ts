import { describe, expect, it } from 'vitest';
import { RetryQuota } from './retry-quota.js';

const rules = { windowMs: 30_000, retryFloor: 3 };

describe('the quota of retries', () => {
  it('lets a few through where little is asked, and then asks to wait for the window to move on', () => {
    const quota = new RetryQuota(rules);
    for (let i = 0; i < 3; i++) {
      expect(quota.waitMs(1_000_000)).toBe(0);
      quota.count('retry', 1_000_000);
    }
    expect(quota.waitMs(1_004_000)).toBe(11_000);
    expect(quota.waitMs(1_031_000)).toBe(0);
  });

  it('is a tenth of what else is asked', () => {
    const quota = new RetryQuota(rules);
    for (let i = 0; i < 100; i++) quota.count('first', 0);
    const granted = Array.from({ length: 20 }, () => {
      const isFree = quota.waitMs(1) === 0;
      if (isFree) quota.count('retry', 1);
      return isFree;
    });
    expect(granted.filter(Boolean)).toHaveLength(10);
  });
});

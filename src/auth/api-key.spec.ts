import { describe, expect, it } from 'vitest';
import { ApiKeyHasher, looksLikeApiKey, newApiKey } from './api-key.js';

describe('newApiKey', () => {
  it('has a prefix to be found by, 43 digits of randomness and 6 of checksum', () => {
    const keys = Array.from({ length: 200 }, newApiKey);
    expect(new Set(keys).size).toBe(200);
    for (const key of keys) {
      expect(key).toMatch(/^lbk_[0-9A-Za-z]{49}$/);
      expect(looksLikeApiKey(key)).toBe(true);
    }
  });
});

describe('looksLikeApiKey', () => {
  it('knows a key with one character changed, wherever', () => {
    const key = newApiKey();
    for (let place = 0; place < key.length; place++) {
      const changed = key.slice(0, place) + (key[place] === 'x' ? 'y' : 'x') + key.slice(place + 1);
      expect(looksLikeApiKey(changed), `place ${place}`).toBe(false);
    }
  });

  it.each(['', 'lbk_', 'sk-abc', `${newApiKey()}0`, newApiKey().slice(0, -1), ` ${newApiKey()}`])('refuses %j', (text) => {
    expect(looksLikeApiKey(text)).toBe(false);
  });
});

describe('ApiKeyHasher', () => {
  it('gives the same 32 bytes for the same key, others under another master key', () => {
    const key = newApiKey();
    const hasher = new ApiKeyHasher('00'.repeat(32));
    expect(hasher.hash(key)).toEqual(new ApiKeyHasher('00'.repeat(32)).hash(key));
    expect(hasher.hash(key)).toHaveLength(32);
    expect(hasher.hash(key)).not.toEqual(hasher.hash(newApiKey()));
    expect(hasher.hash(key)).not.toEqual(new ApiKeyHasher('01'.repeat(32)).hash(key));
  });
});

import { describe, expect, it } from 'vitest';
import { SecretSealer, SecretUnreadable } from './sealing.js';

const SECRET = 'sk-a teacher\'s key, ü included';
const ID = 'teacher-1';

describe('a sealed secret', () => {
  const sealer = new SecretSealer('ab'.repeat(32));

  it('opens beside the id it was sealed for', () => {
    expect(sealer.open(sealer.seal(SECRET, ID), ID)).toBe(SECRET);
    expect(sealer.open(sealer.seal('', ID), ID)).toBe('');
  });

  it('opens in another process that has the same master key', () => {
    expect(new SecretSealer('ab'.repeat(32)).open(sealer.seal(SECRET, ID), ID)).toBe(SECRET);
  });

  it('shows nothing of the secret, and differs each time', () => {
    const records = [sealer.seal(SECRET, ID), sealer.seal(SECRET, ID)];
    expect(records[0].equals(records[1])).toBe(false);
    expect(records.map((record) => record.includes('teacher'))).toEqual([false, false]);
    expect(records.map((record) => [record[0], record.length])).toEqual(Array(2).fill([1, 1 + 12 + 16 + Buffer.byteLength(SECRET)]));
  });

  it('does not open beside another id', () => {
    const record = sealer.seal(SECRET, ID);
    expect(() => sealer.open(record, 'teacher-2')).toThrow(SecretUnreadable);
    expect(() => sealer.open(record, 'teacher-2')).toThrow(/secret of teacher-2 cannot be opened/);
  });

  it('does not open under another master key', () => {
    const record = sealer.seal(SECRET, ID);
    expect(() => new SecretSealer('ac'.repeat(32)).open(record, ID)).toThrow(SecretUnreadable);
  });

  it('does not open when any byte of it was changed, or when it was cut', () => {
    const record = sealer.seal(SECRET, ID);
    for (let at = 0; at < record.length; at++) {
      const changed = Buffer.from(record);
      changed[at] ^= 1;
      expect(() => sealer.open(changed, ID), `byte ${at}`).toThrow(SecretUnreadable);
      expect(() => sealer.open(record.subarray(0, at), ID), `cut to ${at}`).toThrow(SecretUnreadable);
    }
  });
});

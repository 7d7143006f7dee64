import { describe, expect, it } from 'vitest';
import { block, carriedAddress, isInside, isWithin, parseBlock, parseIp, type IpAddress } from './ip-address.js';

const ip = (text: string): IpAddress => {
  const parsed = parseIp(text);
  if (!parsed) throw new Error(`${text} is no address`);
  return parsed;
};

describe('parseIp', () => {
  it.each([
    ['0.0.0.0', 32, 0n],
    ['127.0.0.1', 32, 0x7f000001n],
    ['255.255.255.255', 32, 0xffffffffn],
    ['::', 128, 0n],
    ['::1', 128, 1n],
    ['1::', 128, 1n << 112n],
    ['fe80::1:2', 128, (0xfe80n << 112n) | 0x10002n],
    ['1:2:3:4:5:6:7:8', 128, 0x00010002000300040005000600070008n],
    ['::ffff:127.0.0.1', 128, 0xffff7f000001n],
    ['64:ff9b::10.0.0.1', 128, (0x64ff9bn << 96n) | 0x0a000001n],
  ] as const)('reads %s', (text, bits, value) => {
    expect(parseIp(text)).toEqual({ bits, value });
  });

  it.each(['', '127.1', '2130706433', '0x7f.0.0.1', '127.0.0.01', '127.0.0.1.', '256.0.0.1', '[::1]', 'fe80::1%lo', ':::', 'localhost', '1:2:3:4:5:6:7'])('takes %s for no address', (text) => {
    expect(parseIp(text)).toBeUndefined();
  });
});

describe('a block', () => {
  it.each([
    ['10.0.0.0/8', '10.255.0.1', true],
    ['10.0.0.0/8', '11.0.0.0', false],
    ['10.1.2.3/32', '10.1.2.3', true],
    ['10.1.2.3/32', '10.1.2.2', false],
    ['0.0.0.0/0', '203.0.113.9', true],
    ['0.0.0.0/0', '::1', false],
    ['::/0', '127.0.0.1', false],
    ['fd00::/8', 'fdff::1', true],
    ['fd00::/8', 'fe00::1', false],
  ])('%s holds %s: %s', (text, address, holds) => {
    expect(isWithin(ip(address), block(text))).toBe(holds);
  });

  it.each(['10.0.0.1/8', '10.0.0.0/33', '10.0.0.0', '10.0.0.0/08', '/8', 'fd00::1/8', 'fd00::/129', '10.0.0.0/8/8', '10.0.0.0/-1'])('%s is none', (text) => {
    expect(parseBlock(text)).toBeUndefined();
  });

  it('is inside another when all its addresses are', () => {
    expect(isInside(block('127.0.0.0/9'), block('127.0.0.0/8'))).toBe(true);
    expect(isInside(block('127.0.0.0/8'), block('127.0.0.0/8'))).toBe(true);
    expect(isInside(block('126.0.0.0/7'), block('127.0.0.0/8'))).toBe(false);
    expect(isInside(block('0.0.0.0/0'), block('127.0.0.0/8'))).toBe(false);
  });
});

describe('carriedAddress', () => {
  it.each([
    ['::ffff:10.1.2.3', '10.1.2.3'],
    ['::ffff:0:10.1.2.3', '10.1.2.3'],
    ['64:ff9b::10.1.2.3', '10.1.2.3'],
    ['2002:a01:203::1', '10.1.2.3'],
    ['10.1.2.3', '10.1.2.3'],
    ['fd00::10.1.2.3', 'fd00::10.1.2.3'],
  ])('of %s is %s', (address, carried) => {
    expect(carriedAddress(ip(address))).toEqual(ip(carried));
  });
});

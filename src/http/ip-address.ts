import { isIP } from 'node:net';

/** An address as a number; `bits` is 32 or 128. */
export interface IpAddress {
  readonly bits: 32 | 128;
  readonly value: bigint;
}

/** All addresses whose first `prefix` bits are those of `base`. */
export interface IpBlock {
  readonly base: IpAddress;
  readonly prefix: number;
}

/** Reads an address in its usual form (four decimal numbers, or IPv6 without zone). Undefined for everything else: `127.1`, `0x7f000001` and names are none. */
export function parseIp(text: string): IpAddress | undefined {
  const family = isIP(text);
  if (family === 4) return { bits: 32, value: joined(text.split('.').map(Number), 8n) };
  if (family === 6 && !text.includes('%')) return { bits: 128, value: joined(groupsOf(text), 16n) };
  return undefined;
}

/** Reads `10.0.0.0/8` or `fd00::/8`; undefined when malformed or when bits beyond the prefix are set, which is mostly a slip. */
export function parseBlock(text: string): IpBlock | undefined {
  const [, address, length] = /^([^/]+)\/(0|[1-9]\d{0,2})$/.exec(text) ?? [];
  const base = address === undefined ? undefined : parseIp(address);
  const prefix = Number(length);
  if (!base || prefix > base.bits) return undefined;
  return base.value === network(base, prefix) ? { base, prefix } : undefined;
}

/** For blocks that stand in the code. */
export function block(text: string): IpBlock {
  const parsed = parseBlock(text);
  if (!parsed) throw new TypeError(`${text} is not a block of addresses`);
  return parsed;
}

export function isWithin(address: IpAddress, { base, prefix }: IpBlock): boolean {
  return address.bits === base.bits && network(address, prefix) === base.value;
}

/** Whether every address of `inner` is in `outer`. */
export function isInside(inner: IpBlock, outer: IpBlock): boolean {
  return inner.prefix >= outer.prefix && isWithin(inner.base, outer);
}

/** IPv6 blocks that carry an IPv4 address, and how far it stands from the right, in bits. */
const CARRIERS: readonly { readonly carrier: IpBlock; readonly shift: bigint }[] = [
  { carrier: block('::ffff:0:0/96'), shift: 0n }, // IPv4-mapped, RFC 4291
  { carrier: block('::ffff:0:0:0/96'), shift: 0n }, // IPv4-translated, RFC 2765
  { carrier: block('64:ff9b::/96'), shift: 0n }, // NAT64, RFC 6052
  { carrier: block('2002::/16'), shift: 80n }, // 6to4, RFC 3056
];

/** The IPv4 address that packets for an IPv6 address of a carrying form end at; any other address unchanged. */
export function carriedAddress(address: IpAddress): IpAddress {
  const found = CARRIERS.find(({ carrier }) => isWithin(address, carrier));
  return found ? { bits: 32, value: (address.value >> found.shift) & 0xffff_ffffn } : address;
}

function network({ bits, value }: IpAddress, prefix: number): bigint {
  const rest = BigInt(bits - prefix);
  return (value >> rest) << rest;
}

function groupsOf(text: string): number[] {
  const dotted = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(text);
  if (dotted) {
    const [a, b, c, d] = dotted.slice(2).map(Number);
    return groupsOf(`${dotted[1]}${(a * 256 + b).toString(16)}:${(c * 256 + d).toString(16)}`);
  }
  const [left, right] = text.split('::').map((side) => side.split(':').filter((group) => group !== '').map((group) => parseInt(group, 16)));
  return right === undefined ? left : [...left, ...Array<number>(8 - left.length - right.length).fill(0), ...right];
}

function joined(parts: readonly number[], width: bigint): bigint {
  return parts.reduce((value, part) => (value << width) | BigInt(part), 0n);
}

import { block, carriedAddress, isWithin, type IpAddress, type IpBlock } from './ip-address.js';

/** Addresses that no teacher has: only an entry of the allow-list that lies inside the very block lets one be dialled. */
export interface SpecialBlock {
  readonly name: string;
  readonly block: IpBlock;
}

const NAMED: readonly (readonly [string, string])[] = [
  ['0.0.0.0/8', 'this host'],
  ['127.0.0.0/8', 'loopback'],
  ['100.100.100.200/32', 'cloud metadata'], // Alibaba
  ['168.63.129.16/32', 'cloud metadata'], // Azure
  ['192.0.0.0/24', 'IETF protocol assignments'], // Oracle's metadata among them
  ['169.254.0.0/16', 'link-local and cloud metadata'],
  ['224.0.0.0/4', 'multicast'],
  ['240.0.0.0/4', 'reserved and broadcast'],
  ['::/128', 'this host'],
  ['::1/128', 'loopback'],
  ['::/96', 'IPv4-compatible'], // deprecated by RFC 4291
  ['64:ff9b:1::/48', 'local NAT64'], // where its IPv4 address stands is a network's own choice, RFC 8215
  ['100::/64', 'discard-only'],
  ['2001::/32', 'Teredo'],
  ['fd00:ec2::/32', 'cloud metadata'], // AWS
  ['fd20:ce::/32', 'cloud metadata'], // Google
  ['fe80::/10', 'link-local'],
  ['fec0::/10', 'site-local'], // deprecated by RFC 3879
  ['ff00::/8', 'multicast'],
];

const SPECIAL: readonly SpecialBlock[] = NAMED.map(([text, name]) => ({ name, block: block(text) }));

/** The first special block that an address, or the IPv4 address it carries, is in. */
export function specialBlockOf(address: IpAddress): SpecialBlock | undefined {
  const judged = carriedAddress(address);
  return SPECIAL.find(({ block }) => isWithin(judged, block));
}

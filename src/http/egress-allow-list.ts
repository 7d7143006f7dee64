import { specialBlockOf } from './egress-blocks.js';
import { EgressListInvalid, EgressRefused } from './egress.errors.js';
import { parseEgressUrl, type EgressUrl } from './egress-url.js';
import { carriedAddress, isInside, isWithin, parseBlock, type IpAddress, type IpBlock } from './ip-address.js';

interface ListedBlock {
  readonly block: IpBlock;
  readonly port: number;
}

const BLOCK_ENTRY = /^(?:([0-9.]+\/\d+)|\[([0-9a-f:.]+)\]\/(\d+)):(\d+)$/;
const LOOPBACK = 'loopback';

/** What an operator lets be dialled: exact origins, and blocks of addresses with a port. */
export class EgressAllowList {
  private readonly origins = new Set<string>();
  private readonly blocks: ListedBlock[] = [];

  /** @throws EgressListInvalid */
  constructor(entries: readonly string[]) {
    for (const entry of entries) {
      if (entry.includes('://')) this.origins.add(originOf(entry));
      else this.blocks.push(blockOf(entry));
    }
  }

  /** Whether the origin of a URL whose host is a name may be resolved at all. @throws EgressRefused */
  checkName({ origin, port }: EgressUrl): void {
    if (this.origins.has(origin) || this.blocks.some((listed) => listed.port === port)) return;
    throw new EgressRefused('not_listed', `${origin}: neither it nor a block with port ${port} is on the operator's allow-list (LIMBECK_ALLOWED_TEACHERS)`);
  }

  /** Whether a URL's host may be dialled at this address, which is its own or one that its name resolved to. @throws EgressRefused */
  checkAddress(url: EgressUrl, address: IpAddress, written: string): void {
    const judged = carriedAddress(address);
    const special = specialBlockOf(address);
    const matching = this.blocks.filter(({ block, port }) => port === url.port && isWithin(judged, block));
    const at = url.host === written ? url.origin : `${url.origin} at ${written}`;
    if (special && !matching.some(({ block }) => isInside(block, special.block)) && !this.isLocal(url, special.name)) {
      throw new EgressRefused('special_address', `${at}: ${special.name} addresses are dialled only where a block inside that range is on the operator's allow-list`);
    }
    if (matching.length === 0 && !this.origins.has(url.origin)) {
      throw new EgressRefused('not_listed', `${at}: neither the origin nor a block that holds the address, with port ${url.port}, is on the operator's allow-list (LIMBECK_ALLOWED_TEACHERS)`);
    }
  }

  /** A listed origin that says itself that it is on this machine may be. Any other name that leads here does so by accident or malice. */
  private isLocal({ origin, host, address }: EgressUrl, special: string): boolean {
    return special === LOOPBACK && this.origins.has(origin) && (address !== undefined || host === 'localhost' || host.endsWith('.localhost'));
  }
}

function originOf(entry: string): string {
  const url = readOrigin(entry);
  if (url.path !== '') throw new EgressListInvalid(entry, 'has a path');
  const special = url.address && specialBlockOf(url.address);
  if (special && special.name !== LOOPBACK) throw new EgressListInvalid(entry, `is a ${special.name} address, which must be listed as a block with its port if it is meant`);
  return url.origin;
}

function readOrigin(entry: string): EgressUrl {
  try {
    return parseEgressUrl(entry);
  } catch (error) {
    if (error instanceof EgressRefused) throw new EgressListInvalid(entry, `is no origin: ${error.message}`);
    throw error;
  }
}

function blockOf(entry: string): ListedBlock {
  const [, four, six, length, digits] = BLOCK_ENTRY.exec(entry) ?? [];
  const block = parseBlock(four ?? `${six}/${length}`);
  const port = Number(digits);
  if (!block) throw new EgressListInvalid(entry, 'is neither an origin nor a block of addresses with a port (bits after the prefix must be 0)');
  if (String(port) !== digits || port < 1 || port > 65_535) throw new EgressListInvalid(entry, 'has no port from 1 to 65535');
  return { block, port };
}

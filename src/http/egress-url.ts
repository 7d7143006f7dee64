import { EgressRefused } from './egress.errors.js';
import { parseIp, type IpAddress } from './ip-address.js';

/** The parts of a checked URL. */
export interface EgressUrl {
  /** `http://host:port`, the port always written. */
  readonly origin: string;
  /** A lower-case name, or an address without brackets. */
  readonly host: string;
  readonly address: IpAddress | undefined;
  readonly port: number;
  /** Empty, or `/` and plain segments, without a slash at the end. */
  readonly path: string;
}

const DEFAULT_PORTS: Readonly<Record<string, number>> = { 'http:': 80, 'https:': 443 };
const PARTS = /^(https?):\/\/(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(?::(\d+))?(\/.*)?$/;
const LABEL = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
const PATH = /^(\/[A-Za-z0-9_~.-]+)*\/?$/;
const MOST_CHARACTERS = 2048;

/**
 * Reads a URL that others wrote, without correcting anything: what a URL parser would silently turn into another host is refused.
 * @throws EgressRefused
 */
export function parseEgressUrl(text: string): EgressUrl {
  if (text.length > MOST_CHARACTERS) throw new EgressRefused('form', `a URL of more than ${MOST_CHARACTERS} characters`);
  const quoted = JSON.stringify(text);
  const parsed = URL.canParse(text) ? new URL(text) : undefined;
  if (!parsed) throw new EgressRefused('form', `${quoted}: it is not an absolute URL such as http://teacher.example:8000`);
  if (!(parsed.protocol in DEFAULT_PORTS)) throw new EgressRefused('scheme', `${quoted}: only http and https are spoken`);
  if (parsed.username !== '' || parsed.password !== '' || text.includes('@')) throw new EgressRefused('user_info', `${quoted}: it names a user; give the key as api_key`);
  if (/[?#]/.test(text)) throw new EgressRefused('query_or_fragment', `${quoted}: a base URL has neither query nor fragment`);
  const [, , host, port, path = ''] = PARTS.exec(text) ?? [];
  if (host !== parsed.hostname || !isCanonicalHost(host)) throw new EgressRefused('form', `${quoted}: its canonical form is ${parsed.origin}${parsed.pathname}; write names in lower case ASCII without a dot at the end, and addresses in full`);
  if (!PATH.test(path) || path.split('/').some((segment) => segment === '.' || segment === '..')) {
    throw new EgressRefused('path', `${quoted}: its path may hold plain segments only (letters, digits, _ ~ . -)`);
  }
  const number = port === undefined ? DEFAULT_PORTS[parsed.protocol] : portOf(port, quoted);
  const bare = host.replace(/^\[|\]$/g, '');
  return { origin: `${parsed.protocol}//${host}:${number}`, host: bare, address: parseIp(bare), port: number, path: path.replace(/\/$/, '') };
}

/** @throws EgressRefused */
function portOf(digits: string, quoted: string): number {
  const port = Number(digits);
  if (String(port) !== digits || port < 1 || port > 65_535) throw new EgressRefused('port', `${quoted}: a port is a number from 1 to 65535 without zeros before it`);
  return port;
}

function isCanonicalHost(host: string): boolean {
  if (host.startsWith('[') || parseIp(host)) return true;
  return host.length <= 253 && host.split('.').every((label) => LABEL.test(label));
}

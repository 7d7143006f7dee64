import { buildConnector } from 'undici';
import { ConnectTimedOut, EgressRefused, NameUnknown } from './egress.errors.js';
import type { EgressAllowList } from './egress-allow-list.js';
import type { EgressUrl } from './egress-url.js';
import { carriedAddress, parseIp } from './ip-address.js';

/** How connections are made; tests put their own name service and sockets in place. */
export interface Dialling {
  /** All addresses of a name, in the order they shall be tried. */
  readonly resolve: (host: string) => Promise<readonly string[]>;
  readonly connect: buildConnector.connector;
  /** For the name service, and for each address again, milliseconds. */
  readonly connectMs: number;
}

type Socket = NonNullable<Parameters<buildConnector.Callback>[1]>;

/**
 * Connects to one origin only, and judges every address on every dial: the name is resolved here, each answer must pass, what was judged is what is
 * dialled, and the socket must say that it is connected there.
 */
export function egressConnector(target: EgressUrl, list: EgressAllowList, dialling: Dialling): buildConnector.connector {
  return (options, callback) => {
    dial(options, { target, list, dialling }).then(
      (socket) => callback(null, socket),
      (error: unknown) => callback(error instanceof Error ? error : new Error(String(error)), null),
    );
  };
}

/** @returns the addresses of a checked URL's host, each allowed. @throws EgressRefused, or what the name service throws */
export async function allowedAddresses(target: EgressUrl, list: EgressAllowList, dialling: Pick<Dialling, 'resolve' | 'connectMs'>): Promise<readonly string[]> {
  if (!target.address) list.checkName(target);
  const answers = target.address ? [target.host] : await withinTime(dialling.resolve(target.host), dialling.connectMs, target.host);
  for (const answer of answers) {
    const address = parseIp(answer);
    if (!address) throw new EgressRefused('form', `${target.origin}: its name resolves to ${answer}, which is no plain address`);
    list.checkAddress(target, address, answer);
  }
  return answers;
}

interface Dial {
  readonly target: EgressUrl;
  readonly list: EgressAllowList;
  readonly dialling: Dialling;
}

async function dial(options: buildConnector.Options, { target, list, dialling }: Dial): Promise<Socket> {
  const asked = originOf(options);
  if (asked !== target.origin) throw new EgressRefused('other_origin', `${asked}: this connection is for ${target.origin} alone`);
  const failures: unknown[] = [];
  for (const address of await allowedAddresses(target, list, dialling)) {
    try {
      return checkPeer(await connected({ ...options, hostname: address }, dialling), { target, address });
    } catch (error) {
      if (error instanceof EgressRefused) throw error;
      failures.push(error);
    }
  }
  throw failures[0] ?? new NameUnknown(target.host);
}

function connected(options: buildConnector.Options, { connect }: Dialling): Promise<Socket> {
  return new Promise((resolve, reject) => connect(options, (...[error, socket]) => (error === null ? resolve(socket) : reject(error))));
}

function checkPeer(socket: Socket, { target, address }: { readonly target: EgressUrl; readonly address: string }): Socket {
  const peer = parseIp(socket.remoteAddress ?? '');
  const meant = parseIp(address);
  if (peer && meant && carriedAddress(peer).value === carriedAddress(meant).value) return socket;
  socket.destroy();
  throw new EgressRefused('peer', `${target.origin}: the socket is connected to ${String(socket.remoteAddress)} instead of ${address}`);
}

function originOf({ protocol, hostname, port }: buildConnector.Options): string {
  const host = hostname.includes(':') && !hostname.startsWith('[') ? `[${hostname}]` : hostname;
  return `${protocol}//${host}:${port || (protocol === 'https:' ? 443 : 80)}`;
}

/** The name service of the system cannot be stopped; its late answer goes unheard. */
function withinTime<T>(work: Promise<T>, ms: number, host: string): Promise<T> {
  return new Promise((resolve, reject) => {
    const timeout = setTimeout(() => reject(new ConnectTimedOut(`the name ${host} was not resolved within ${ms} ms`)), ms);
    work.then(resolve, reject).finally(() => clearTimeout(timeout));
  });
}

import type { AddressInfo } from 'node:net';
import type { NestExpressApplication } from '@nestjs/platform-express';
import type { ApiSettings } from '../config/service-settings.js';
import { HostWithoutTls } from './http.errors.js';

/** Where a process listens. */
export interface ListeningAt {
  /** `http://host:port`, without a path. */
  readonly url: string;
  readonly port: number;
}

const LOOPBACK = /^(localhost|::1|127(\.\d{1,3}){3})$/;

/** Begins to listen. @throws HostWithoutTls; the system's error when the port is taken */
export async function listen(app: NestExpressApplication, { host, port, behindTls }: Pick<ApiSettings, 'host' | 'port' | 'behindTls'>): Promise<ListeningAt> {
  if (!behindTls && !LOOPBACK.test(host)) throw new HostWithoutTls(host);
  const server = await app.listen(port, host);
  const address: AddressInfo | string | null = server.address();
  const taken = typeof address === 'object' && address ? address.port : port;
  return { url: `http://${host.includes(':') ? `[${host}]` : host}:${taken}`, port: taken };
}

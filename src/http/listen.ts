import type { AddressInfo } from 'node:net';
import type { NestExpressApplication } from '@nestjs/platform-express';

/** Where a process listens. */
export interface ListeningAt {
  /** `http://host:port`, without a path. */
  readonly url: string;
  readonly port: number;
}

/** Begins to listen. @throws the system's error when the port is taken */
export async function listen(app: NestExpressApplication, { host, port }: { readonly host: string; readonly port: number }): Promise<ListeningAt> {
  const server = await app.listen(port, host);
  const address: AddressInfo | string | null = server.address();
  const taken = typeof address === 'object' && address ? address.port : port;
  return { url: `http://${host.includes(':') ? `[${host}]` : host}:${taken}`, port: taken };
}

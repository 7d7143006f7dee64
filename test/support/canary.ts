import { once } from 'node:events';
import { createServer, type Socket } from 'node:net';

/** A server on loopback that nothing may connect to; it counts who does. Closes every connection at once. */
export class Canary {
  private readonly sockets = new Set<Socket>();
  private count = 0;
  private readonly server = createServer((socket) => {
    this.count++;
    this.sockets.add(socket);
    socket.on('error', () => undefined).destroy();
  });

  /** Listens on every address of this machine, so that every way to it counts. */
  static async start(): Promise<Canary> {
    const canary = new Canary();
    canary.server.listen(0); // both families, where there are two
    await once(canary.server, 'listening');
    return canary;
  }

  get connections(): number {
    return this.count;
  }

  get port(): number {
    const address = this.server.address();
    if (address === null || typeof address === 'string') throw new Error('the canary does not listen');
    return address.port;
  }

  async close(): Promise<void> {
    this.sockets.forEach((socket) => socket.destroy());
    this.server.close();
    await once(this.server, 'close');
  }
}

import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

/** A way to a server that a test can block or break. */
export interface TcpGate {
  readonly port: number;
  /** From now on bytes go neither way, while connections stay and new ones are taken: as a server that hangs. */
  block(): void;
  unblock(): void;
  /** Cuts every connection, and each new one as soon as it is there, until `mend`: as a server that is started again. */
  cut(): void;
  mend(): void;
  /** New connections that met the cut. */
  readonly refused: number;
  /** Cuts every connection and refuses new ones: as a server that is down. */
  close(): Promise<void>;
}

/** Opens a gate on loopback in front of a local port. */
export async function tcpGate(target: number): Promise<TcpGate> {
  const sockets = new Set<Socket>();
  let blocked = false;
  let isCut = false;
  let refused = 0;
  const server = createServer((client) => {
    if (isCut) {
      refused++;
      client.destroy();
      return;
    }
    const upstream = connect(target, '127.0.0.1');
    for (const [from, to] of [[client, upstream], [upstream, client]]) {
      sockets.add(from);
      from.on('error', () => to.destroy()).on('close', () => {
        sockets.delete(from);
        to.destroy();
      });
      from.pipe(to);
      if (blocked) from.pause();
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    block: () => {
      blocked = true;
      for (const socket of sockets) socket.pause();
    },
    unblock: () => {
      blocked = false;
      for (const socket of sockets) socket.resume();
    },
    cut: () => {
      isCut = true;
      for (const socket of sockets) socket.destroy();
    },
    mend: () => {
      isCut = false;
    },
    get refused() {
      return refused;
    },
    close: async () => {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

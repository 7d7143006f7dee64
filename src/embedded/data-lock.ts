import { createHash } from 'node:crypto';
import { realpathSync } from 'node:fs';
import { createServer } from 'node:net';
import { DataDirectoryInUse } from './embedded.errors.js';

/**
 * Takes a data directory for this process alone. The lock is a socket in Linux's abstract namespace, named after the directory: the kernel frees it when the process
 * ends in whatever way, so there is no stale one to recognise. @returns a function that frees it. @throws DataDirectoryInUse
 */
export function lockDirectory(dir: string): Promise<() => void> {
  const name = `\0limbeck-${createHash('sha256').update(realpathSync(dir)).digest('hex')}`;
  return new Promise((resolve, reject) => {
    const socket = createServer((client) => client.destroy());
    socket.once('error', (error) => reject('code' in error && error.code === 'EADDRINUSE' ? new DataDirectoryInUse(dir) : error));
    socket.listen(name, () => resolve(() => void socket.close()));
    socket.unref();
  });
}

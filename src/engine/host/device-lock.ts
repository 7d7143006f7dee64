import { createServer } from 'node:net';
import { DeviceBusy } from './device.errors.js';

/**
 * Takes a device of this machine for this process until it ends. The lock is a socket in Linux's abstract namespace, which the kernel frees with its holder in
 * whatever way that ends, so there is no stale one to recognise. @throws DeviceBusy
 */
export function lockDevice(device: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = createServer((client) => client.destroy());
    socket.once('error', (error) => reject('code' in error && error.code === 'EADDRINUSE' ? new DeviceBusy(device) : error));
    socket.listen(`\0limbeck-device-${device}`, resolve);
    socket.unref();
  });
}

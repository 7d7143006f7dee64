import { serveSession } from '../serve-session.js';
import { RuntimeFailed } from '../teacher-server.errors.js';
import { NativeSession } from './native-session.js';

// Entry of the process that runs a model directory on the native operations, whose thread setting and tensors are those of a whole process.
serveSession(
  {
    listen: (onCall) => void process.on('message', onCall),
    send: (reply) => void process.send?.(reply),
    close: () => process.disconnect(),
  },
  (options) => {
    if (options.runtime !== 'native') throw new RuntimeFailed('this process runs model directories only');
    return NativeSession.open(options);
  },
);
process.once('disconnect', () => process.exit(0));
// Signals reach the whole process group; the server decides what they mean.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => {});

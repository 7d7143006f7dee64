import { parentPort } from 'node:worker_threads';
import { serveSession } from '../serve-session.js';
import { RuntimeFailed } from '../teacher-server.errors.js';
import { OnnxSession } from './onnx-session.js';

// Entry of the thread that runs a `teacher.onnx`.
if (!parentPort) throw new RuntimeFailed('the worker must be started as a thread');
const port = parentPort;

serveSession(
  {
    listen: (onCall) => void port.on('message', onCall),
    // Copied, not transferred: the arrays lie in memory of onnxruntime, which may not be given away.
    send: (reply) => port.postMessage(reply),
    close: () => port.close(),
  },
  (options) => {
    if (options.runtime !== 'onnx') throw new RuntimeFailed('this thread runs a teacher.onnx only');
    return OnnxSession.open(options);
  },
);

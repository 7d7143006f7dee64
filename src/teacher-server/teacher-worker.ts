import { parentPort, workerData, type MessagePort } from 'node:worker_threads';
import { TeacherSession, type SessionOptions } from './teacher-session.js';
import { RuntimeFailed } from './teacher-server.errors.js';
import type { WorkerCall, WorkerReply } from './worker-protocol.js';

/** Entry of the thread that runs the model: opens the session named in `workerData`, then answers one call after the other. */
async function serve(port: MessagePort, options: SessionOptions): Promise<void> {
  const session = await TeacherSession.open(options);
  let last = Promise.resolve();
  port.on('message', (call: WorkerCall) => {
    last = last.then(() => answer(port, session, call));
  });
  send(port, { kind: 'ready' });
}

async function answer(port: MessagePort, session: TeacherSession, call: WorkerCall): Promise<void> {
  if (call.kind === 'forget') return session.forget(call.lane);
  if (call.kind === 'close') {
    await session.close();
    port.close();
    return;
  }
  try {
    // Copied, not transferred: the arrays lie in memory of onnxruntime, which may not be given away.
    send(port, { kind: 'rows', rows: await session.run(call.run) });
  } catch (error) {
    send(port, { kind: 'failed', reason: String(error) });
  }
}

function send(port: MessagePort, reply: WorkerReply): void {
  port.postMessage(reply);
}

if (!parentPort) throw new RuntimeFailed('the worker must be started as a thread');
const port = parentPort;
serve(port, workerData).catch((error: unknown) => {
  send(port, { kind: 'failed', reason: String(error) });
  port.close();
});

import type { RemoteCall, RemoteReply } from './remote-protocol.js';
import type { RuntimeOptions } from './runtime-options.js';
import type { TeacherSession } from './runtime.js';
import { RuntimeFailed } from './teacher-server.errors.js';

/** How a thread or process that runs the model reaches the server. */
export interface ServerPort {
  listen(onCall: (call: RemoteCall) => void): void;
  send(reply: RemoteReply): void;
  /** Ends the thread or process once nothing else holds it. */
  close(): void;
}

/** Opens the session that the server asks for, then answers one call after the other. */
export function serveSession(port: ServerPort, open: (options: RuntimeOptions) => Promise<TeacherSession>): void {
  let session: TeacherSession | undefined;
  let last = Promise.resolve();
  const perform = async (call: RemoteCall): Promise<RemoteReply | undefined> => {
    if (call.kind === 'open') {
      session = await open(call.options);
      return { kind: 'ready', rules: session.rules };
    }
    if (call.kind === 'close') {
      await session?.close();
      port.close();
    }
    if (call.kind === 'forget') session?.forget(call.lane);
    if (call.kind !== 'run') return undefined;
    if (!session) throw new RuntimeFailed('a run before a model was opened');
    return { kind: 'rows', rows: await session.run(call.run) };
  };
  const answer = async (call: RemoteCall): Promise<void> => {
    try {
      const reply = await perform(call);
      if (reply) port.send(reply);
    } catch (error) {
      port.send({ kind: 'failed', reason: error instanceof Error ? error.message : String(error) });
      if (!session) port.close();
    }
  };
  port.listen((call) => {
    last = last.then(() => answer(call));
  });
}

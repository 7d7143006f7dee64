import { EngineFailed, type Engine } from '../engine.js';
import { lockDevice } from './device-lock.js';
import { HostWatch } from './host-watch.js';
import { parseRequest, type EngineCall, type EngineOptions, type Reply } from './protocol.js';
import { toWire } from './wire-errors.js';

/** How the engine process makes its engine. */
export type OpenEngine = (options: EngineOptions, onWarning: (message: string) => void) => Promise<Engine>;

const HEARTBEAT_MS = 1_000;

/** Serves one engine to the parent over the process's IPC channel until the parent goes away. */
export function serveEngine(open: OpenEngine): void {
  new EngineServer(open).listen();
}

class EngineServer {
  private engine: Engine | undefined;
  private watch: HostWatch | undefined;
  private readonly running = new Map<number, AbortController>();

  constructor(private readonly open: OpenEngine) {}

  listen(): void {
    process.on('message', (message: unknown) => {
      const request = parseRequest(message);
      this.watch?.hear();
      if (request.kind === 'alive') return;
      if (request.kind === 'abort') this.running.get(request.id)?.abort();
      else void this.answer(request.id, request.call, request.aborted ? 'aborted' : 'wanted');
    });
    process.once('disconnect', () => process.exit(0));
    // Ctrl-C reaches the whole process group; the parent decides what it means for the engine.
    process.on('SIGINT', () => {});
    setInterval(() => void send({ kind: 'alive' }), HEARTBEAT_MS);
  }

  private async answer(id: number, call: EngineCall, state: 'aborted' | 'wanted'): Promise<void> {
    const controller = new AbortController();
    if (state === 'aborted') controller.abort();
    this.running.set(id, controller);
    try {
      const value = await this.run(id, call, controller.signal);
      await send({ kind: 'result', id, value });
    } catch (error) {
      await send({ kind: 'error', id, error: toWire(error) });
    } finally {
      this.running.delete(id);
    }
  }

  private async run(id: number, call: EngineCall, signal: AbortSignal): Promise<unknown> {
    if (call.method === 'open') return this.openOnce(call.options);
    if (!this.engine) throw new EngineFailed(`\`${call.method}\` was called before an engine was opened`);
    switch (call.method) {
      case 'forward':
        return this.engine.forward(call.batch, call.loss, signal);
      case 'forwardBackward':
        return this.engine.forwardBackward(call.batch, call.loss, call.normalizer, { recompute: call.recompute, signal });
      case 'optimStep':
        return this.engine.optimStep(call.step);
      case 'sample':
        return sendAll(id, this.engine.sample(call.request, signal));
      case 'score':
        return sendAll(id, this.engine.score(call.request, signal));
      case 'save':
        return this.engine.save(call.dir);
      case 'load':
        return this.engine.load(call.ref);
      case 'exportWeights':
        return this.engine.exportWeights(call.dir);
      case 'describe':
        return this.engine.describe();
      case 'foresee':
        return this.engine.foresee(call.works);
    }
  }

  private async openOnce(options: EngineOptions): Promise<void> {
    if (this.engine) throw new EngineFailed('the engine process already has an engine; start another process');
    if (options.hostSilenceMs !== undefined) this.watch = new HostWatch(options.hostSilenceMs, () => process.kill(process.pid, 'SIGKILL'));
    if (options.device !== undefined) await lockDevice(options.device);
    this.engine = await this.open(options, (message) => void send({ kind: 'warning', message }));
  }
}

// Each item waits until the channel has taken the one before, so that a slow parent bounds what is queued here.
async function sendAll(id: number, items: AsyncIterable<unknown>): Promise<void> {
  for await (const value of items) await send({ kind: 'item', id, value });
}

// A parent that has gone away needs no answer: `disconnect` ends the process.
function send(reply: Reply): Promise<void> {
  return new Promise((resolve) => {
    if (process.connected) process.send?.(reply, undefined, undefined, () => resolve());
    else resolve();
  });
}

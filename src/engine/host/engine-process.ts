import { fork, type ChildProcess } from 'node:child_process';
import { computeThreadVariables } from '../../common/compute-threads.js';
import { Aborted } from '../../common/errors.js';
import { EngineFailed } from '../engine.js';
import { ItemQueue } from './item-queue.js';
import { parseReply, type EngineCall, type Reply, type Request } from './protocol.js';
import { fromWire } from './wire-errors.js';

/** How the engine process is started and watched. */
export interface ProcessOptions {
  /** The compiled `main.engine.js`. */
  readonly entry: string;
  /** What its command line says behind the entry. */
  readonly args: readonly string[];
  readonly threads: number;
  /** Variables the process needs beyond the thread settings; nothing is inherited, so that no secret reaches it. */
  readonly environment: Readonly<Record<string, string>>;
  /** How long a process that was asked to end may take before it is killed. */
  readonly closeMs: number;
  /** How long a working process may stay silent before it counts as hung and is killed. */
  readonly silenceMs: number;
  /** How often the process is told that its host lives, milliseconds; never when absent. */
  readonly beatMs?: number;
  /** Kills the process at once when it fires. */
  readonly killSignal?: AbortSignal;
  readonly onWarning: (message: string) => void;
}

interface Pending {
  readonly onItem: (value: unknown) => void;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

const STDERR = 2;
// An engine's JavaScript makes little garbage. Left to itself V8 grows the space for new objects by 12 MiB at some moments and not at others, which no forecast of memory can know.
const SMALL_NEW_SPACE = '--max-semi-space-size=2';
const ignoreItem = (): void => {};

/** One engine process: numbers calls, matches replies, forwards aborts, and turns the death of the process into `EngineFailed`. */
export class EngineProcess {
  private readonly child: ChildProcess;
  private readonly pending = new Map<number, Pending>();
  private readonly watchdog: NodeJS.Timeout;
  private readonly heart: NodeJS.Timeout | undefined;
  private readonly gone: Promise<unknown>;
  private nextId = 1;
  private heard = process.hrtime.bigint();
  private death: EngineFailed | undefined;

  constructor(private readonly options: ProcessOptions) {
    this.child = fork(options.entry, options.args, {
      serialization: 'advanced',
      execArgv: ['--enable-source-maps', SMALL_NEW_SPACE],
      stdio: ['ignore', STDERR, STDERR, 'ipc'],
      env: { ...options.environment, ...computeThreadVariables(options.threads) },
    });
    this.gone = new Promise((resolve) => this.child.once('exit', resolve));
    this.child.on('message', (message: unknown) => this.receive(parseReply(message)));
    this.child.on('exit', (code, signal) => this.die(signal ? `was killed by ${signal}` : `ended with exit code ${code}`));
    this.child.on('error', (error) => this.die(`could not be reached: ${error.message}`));
    options.killSignal?.addEventListener('abort', this.kill, { once: true });
    if (options.killSignal?.aborted) this.kill();
    this.watchdog = setInterval(() => this.killIfSilent(), Math.max(1, options.silenceMs / 4)).unref();
    this.heart = options.beatMs === undefined ? undefined : setInterval(() => this.send({ kind: 'alive' }), options.beatMs).unref();
  }

  /** The process id, for operators and tests. */
  get pid(): number | undefined {
    return this.child.pid;
  }

  /** @throws the engine's error; `EngineFailed` when the process dies first. */
  call(call: EngineCall, signal?: AbortSignal): Promise<unknown> {
    return this.request(call, { signal, onItem: ignoreItem });
  }

  /** Items as they arrive. Leaving the loop early stops the work and waits until it has stopped. */
  async *stream(call: EngineCall, signal?: AbortSignal): AsyncGenerator<unknown> {
    const queue = new ItemQueue<unknown>();
    const leave = new AbortController();
    const either = signal ? AbortSignal.any([signal, leave.signal]) : leave.signal;
    const ended = this.request(call, { signal: either, onItem: (value) => queue.push(value) }).then(
      () => queue.finish(),
      (error: unknown) => queue.fail(error),
    );
    try {
      for await (const item of queue) {
        yield item;
        if (signal?.aborted) throw new Aborted(`\`${call.method}\``); // the rest may have arrived before the abort did
      }
    } finally {
      leave.abort();
      await ended;
    }
  }

  /** Ends the process, gently first. Pending calls reject with `EngineFailed`. */
  async end(): Promise<void> {
    this.die('was closed');
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    this.child.kill('SIGTERM');
    const killer = setTimeout(() => this.child.kill('SIGKILL'), this.options.closeMs);
    await this.gone;
    clearTimeout(killer);
  }

  private async request(call: EngineCall, { signal, onItem }: { signal?: AbortSignal; onItem: (value: unknown) => void }): Promise<unknown> {
    if (this.death) throw this.death;
    const id = this.nextId++;
    const answer = new Promise<unknown>((resolve, reject) => this.pending.set(id, { onItem, resolve, reject }));
    const abort = (): void => this.send({ kind: 'abort', id });
    if (this.pending.size === 1) this.heard = process.hrtime.bigint();
    this.send({ kind: 'call', id, call, aborted: signal?.aborted ?? false });
    signal?.addEventListener('abort', abort, { once: true });
    try {
      return await answer;
    } finally {
      signal?.removeEventListener('abort', abort);
      this.pending.delete(id);
    }
  }

  private send(request: Request): void {
    if (!this.child.connected) return; // its exit event, soon to come, rejects every pending call
    this.child.send(request);
  }

  private receive(reply: Reply): void {
    this.heard = process.hrtime.bigint();
    if (reply.kind === 'alive') return;
    if (reply.kind === 'warning') return this.options.onWarning(reply.message);
    const pending = this.pending.get(reply.id);
    if (reply.kind === 'item') pending?.onItem(reply.value);
    if (reply.kind === 'result') pending?.resolve(reply.value);
    if (reply.kind === 'error') pending?.reject(fromWire(reply.error));
  }

  private killIfSilent(): void {
    const silentMs = Number(process.hrtime.bigint() - this.heard) / 1e6;
    if (this.pending.size === 0 || silentMs < this.options.silenceMs) return;
    this.die(`gave no sign of life for ${Math.round(silentMs)} ms`);
    this.child.kill('SIGKILL');
  }

  private readonly kill = (): void => {
    this.die('was killed');
    this.child.kill('SIGKILL');
  };

  private die(how: string): void {
    if (this.death) return;
    this.options.killSignal?.removeEventListener('abort', this.kill);
    clearInterval(this.watchdog);
    clearInterval(this.heart);
    this.death = new EngineFailed(`the engine process ${how}; start a new one and load the last checkpoint`);
    for (const { reject } of this.pending.values()) reject(this.death);
  }
}

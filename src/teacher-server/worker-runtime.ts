import { Worker } from 'node:worker_threads';
import { TeacherRuntime, type TeacherRows, type TeacherRun } from './runtime.js';
import { RuntimeFailed } from './teacher-server.errors.js';
import type { SessionOptions } from './teacher-session.js';
import type { WorkerCall, WorkerReply } from './worker-protocol.js';

interface Pending {
  readonly resolve: (rows: TeacherRows) => void;
  readonly reject: (error: Error) => void;
}

/** The model in a thread of its own, so that requests are read and answers written while it computes. */
export class WorkerRuntime extends TeacherRuntime {
  private readonly failure = new AbortController();
  private readonly exited: Promise<unknown>;
  private pending: Pending | undefined;

  private constructor(private readonly worker: Worker) {
    super();
    this.exited = new Promise((resolve) => worker.once('exit', resolve));
    worker.on('error', (error) => this.fail(String(error)));
    worker.on('exit', (code) => this.fail(`its thread ended with code ${code}`));
  }

  /** @throws RuntimeFailed when the model cannot be loaded. */
  static async open(options: SessionOptions): Promise<WorkerRuntime> {
    const runtime = new WorkerRuntime(new Worker(new URL('./teacher-worker.js', import.meta.url), { workerData: options }));
    await runtime.ready();
    return runtime;
  }

  override get broken(): AbortSignal {
    return this.failure.signal;
  }

  override run(run: TeacherRun): Promise<TeacherRows> {
    if (this.broken.aborted) return Promise.reject(this.reason());
    if (this.pending) return Promise.reject(new RuntimeFailed('two runs at a time'));
    return new Promise((resolve, reject) => {
      this.pending = { resolve, reject };
      this.post({ kind: 'run', run });
    });
  }

  override forget(lane: number): void {
    this.post({ kind: 'forget', lane });
  }

  override async close(): Promise<void> {
    this.post({ kind: 'close' });
    await this.exited;
  }

  private async ready(): Promise<void> {
    const first = await new Promise<WorkerReply>((resolve, reject) => {
      this.worker.once('message', resolve);
      this.broken.addEventListener('abort', () => reject(this.reason()), { once: true });
    });
    if (first.kind === 'failed') throw new RuntimeFailed(first.reason);
    this.worker.on('message', (reply: WorkerReply) => this.receive(reply));
  }

  private receive(reply: WorkerReply): void {
    const { pending } = this;
    this.pending = undefined;
    if (reply.kind === 'rows') pending?.resolve(reply.rows);
    if (reply.kind === 'failed') this.fail(reply.reason, pending);
  }

  private fail(reason: string, pending = this.pending): void {
    this.failure.abort(new RuntimeFailed(reason));
    this.pending = undefined;
    pending?.reject(this.reason());
  }

  private reason(): Error {
    return this.broken.reason instanceof Error ? this.broken.reason : new RuntimeFailed('its thread ended');
  }

  private post(call: WorkerCall): void {
    this.worker.postMessage(call);
  }
}

import type { Remote } from './remote.js';
import type { RemoteCall, RemoteReply } from './remote-protocol.js';
import type { RuntimeOptions } from './runtime-options.js';
import { TeacherRuntime, type RunRules, type TeacherRows, type TeacherRun } from './runtime.js';
import { RuntimeFailed } from './teacher-server.errors.js';

interface Pending<T> {
  readonly resolve: (value: T) => void;
  readonly reject: (error: Error) => void;
}

/** The model in a thread or process of its own, so that requests are read and answers written while it computes. */
export class RemoteRuntime extends TeacherRuntime {
  private readonly failure = new AbortController();
  private readonly ended: Promise<void>;
  private opening: Pending<RunRules> | undefined;
  private pending: Pending<TeacherRows> | undefined;
  private opened: RunRules | undefined;

  private constructor(private readonly remote: Remote) {
    super();
    remote.onReply((reply) => this.receive(reply));
    this.ended = new Promise((resolve) => {
      remote.onEnd((how) => {
        this.fail(how);
        resolve();
      });
    });
  }

  /** @throws RuntimeFailed when the model cannot be loaded. */
  static async open(remote: Remote, options: RuntimeOptions): Promise<RemoteRuntime> {
    const runtime = new RemoteRuntime(remote);
    runtime.opened = await new Promise((resolve, reject) => {
      runtime.opening = { resolve, reject };
      remote.post({ kind: 'open', options });
    });
    return runtime;
  }

  override get rules(): RunRules {
    if (!this.opened) throw new RuntimeFailed('it is not open');
    return this.opened;
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
    await this.ended;
  }

  private receive(reply: RemoteReply): void {
    if (reply.kind === 'failed') return this.fail(reply.reason);
    if (reply.kind === 'ready') return this.opening?.resolve(reply.rules);
    const { pending } = this;
    this.pending = undefined;
    pending?.resolve(reply.rows);
  }

  private fail(reason: string): void {
    this.failure.abort(new RuntimeFailed(reason));
    this.opening?.reject(this.reason());
    this.pending?.reject(this.reason());
    this.pending = undefined;
  }

  private reason(): Error {
    return this.broken.reason instanceof Error ? this.broken.reason : new RuntimeFailed('it ended');
  }

  private post(call: RemoteCall): void {
    this.remote.post(call);
  }
}

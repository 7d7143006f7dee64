import { TeacherRuntime, type TeacherRows, type TeacherRun } from '../../src/teacher-server/runtime.js';
import { TeacherSession, type SessionOptions } from '../../src/teacher-server/teacher-session.js';

/** The teacher's model on the calling thread, for tests that run from TypeScript sources, where no worker thread can start. */
export class InProcessRuntime extends TeacherRuntime {
  override readonly broken = new AbortController().signal;

  private constructor(private readonly session: TeacherSession) {
    super();
  }

  static async open(options: SessionOptions): Promise<InProcessRuntime> {
    return new InProcessRuntime(await TeacherSession.open(options));
  }

  override run(run: TeacherRun): Promise<TeacherRows> {
    return this.session.run(run);
  }

  override forget(lane: number): void {
    this.session.forget(lane);
  }

  override close(): Promise<void> {
    return this.session.close();
  }
}

import { NativeSession } from '../../src/teacher-server/native/native-session.js';
import { OnnxSession } from '../../src/teacher-server/onnx/onnx-session.js';
import type { RuntimeOptions } from '../../src/teacher-server/runtime-options.js';
import { TeacherRuntime, type RunRules, type TeacherRows, type TeacherRun, type TeacherSession } from '../../src/teacher-server/runtime.js';

/** The teacher's model on the calling thread, for tests that run from TypeScript sources, where no other thread or process can start. */
export class InProcessRuntime extends TeacherRuntime {
  override readonly broken = new AbortController().signal;

  private constructor(private readonly session: TeacherSession) {
    super();
  }

  static async open(options: RuntimeOptions): Promise<InProcessRuntime> {
    return new InProcessRuntime(await (options.runtime === 'native' ? NativeSession.open(options) : OnnxSession.open(options)));
  }

  override get rules(): RunRules {
    return this.session.rules;
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

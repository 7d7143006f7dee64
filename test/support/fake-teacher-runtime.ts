import { onnxRules } from '../../src/teacher-server/onnx/onnx-rules.js';
import { TeacherRuntime, type RunRules, type TeacherRows, type TeacherRun } from '../../src/teacher-server/runtime.js';

/** A runtime whose runs end when the test says so, by the rules of a `teacher.onnx` unless told otherwise. Every draw gives the same id; log-probs are flat. */
export class FakeTeacherRuntime extends TeacherRuntime {
  readonly runs: TeacherRun[] = [];
  readonly forgotten: number[] = [];
  isClosed = false;
  private readonly failure = new AbortController();
  private waiting: { run: TeacherRun; resolve: (rows: TeacherRows) => void; reject: (error: Error) => void } | undefined;
  private arrived: (() => void) | undefined;

  override readonly rules: RunRules;

  constructor(
    private readonly drawn: number,
    rules: Partial<RunRules> = {},
  ) {
    super();
    this.rules = { ...onnxRules(100), ...rules };
  }

  override get broken(): AbortSignal {
    return this.failure.signal;
  }

  override run(run: TeacherRun): Promise<TeacherRows> {
    this.runs.push(run);
    return new Promise((resolve, reject) => {
      this.waiting = { run, resolve, reject };
      this.arrived?.();
    });
  }

  override forget(lane: number): void {
    this.forgotten.push(lane);
  }

  override close(): Promise<void> {
    this.isClosed = true;
    return Promise.resolve();
  }

  /** Waits for a run to begin. @returns its lanes. */
  async begun(): Promise<number[]> {
    if (!this.waiting) await new Promise<void>((resolve) => (this.arrived = resolve));
    this.arrived = undefined;
    return this.waiting?.run.parts.map(({ lane }) => lane) ?? [];
  }

  /** Waits for a run to begin and ends it. @returns its lanes. */
  async step(): Promise<number[]> {
    const lanes = await this.begun();
    const { waiting } = this;
    this.waiting = undefined;
    waiting?.resolve(this.rows(waiting.run));
    return lanes;
  }

  /** Breaks for good, in the middle of the next run. */
  async fail(error: Error): Promise<void> {
    await this.begun();
    this.failure.abort(error);
    this.waiting?.reject(error);
  }

  private rows({ parts, k }: TeacherRun): TeacherRows {
    const R = parts.reduce((sum, part) => sum + part.rows.length, 0);
    return {
      topIds_RK: Int32Array.from({ length: R * k }, (_, i) => (this.drawn + (i % k)) % 100),
      topLogits_RK: new Float32Array(R * k),
      labelLogits_R: new Float32Array(R),
      labelRanks_R: new Int32Array(R).fill(1),
      logSumExp_R: new Float32Array(R).fill(Math.log(100)),
      sampledIds_R: new Int32Array(R).fill(this.drawn),
      sampledLogits_R: new Float32Array(R),
    };
  }
}

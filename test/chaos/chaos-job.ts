import { Job } from '../../src/runs/runs.schema.js';
import { MetricsAnswer } from '../../src/metrics/metrics.service.js';
import { patiently } from '../../src/worker/patience.js';
import { TINY_METHOD } from '../support/whole-service.js';
import { registerInputs, type RegisteredInputs } from '../support/whole-inputs.js';
import type { ChaosService } from './chaos-service.js';

/** Steps enough for many kills with a checkpoint between each two. */
export const CHAOS_METHOD = { ...TINY_METHOD, distill: { ...TINY_METHOD.distill, epochs: 16 }, align: { ...TINY_METHOD.align, steps: 30 }, checkpoint_every: { steps: 2 } };
const JOBS = '/v1/fine_tuning/jobs';
const LOOK_MS = 10;
const LIMIT_MS = 600_000;

/** The first half of the times in distill, the others in align. */
export function stageOf(n: number, times: number): 'distill' | 'align' {
  return n < times / 2 ? 'distill' : 'align';
}

/** A stage as the database has it. */
export interface StageState {
  readonly id: number;
  readonly name: string;
  readonly status: string;
  readonly epoch: number;
  /** Name of the worker that holds it or did last. */
  readonly worker: string | null;
  /** Steps, answers or rollouts that are done. */
  readonly done: number;
  readonly tokens: number;
  /** What it cannot go on without. */
  readonly waitingFor: string | null;
}

/** A job of the chaos suite, watched through the database so that no API is needed. */
export class ChaosJob {
  private constructor(
    private readonly service: ChaosService,
    readonly id: string,
  ) {}

  /** A job that was submitted otherwise. */
  static of(service: ChaosService, id: string): ChaosJob {
    return new ChaosJob(service, id);
  }

  /** Registers model, files and teacher once for all jobs of a service. */
  static async inputs(service: ChaosService): Promise<RegisteredInputs> {
    const client = service.client();
    return registerInputs(client, service.dir, service.teacherUrl).finally(() => client.close());
  }

  static async submit(service: ChaosService, inputs: RegisteredInputs, change: object = {}): Promise<ChaosJob> {
    const client = service.client();
    const { model, trainingFile: training_file, validationFile: validation_file, teacher } = inputs;
    const body = { model, training_file, validation_file, seed: 11, method: { type: 'distillation', distillation: { teacher, ...CHAOS_METHOD, ...change } } };
    const { id } = await client.post(JOBS, body, Job).finally(() => client.close());
    return new ChaosJob(service, id);
  }

  /** Asks the database, again for as long as it is away. */
  query<Row>(sql: string, parameters: readonly unknown[] = []): Promise<Row[]> {
    return patiently(() => this.service.database.query<Row>(sql, parameters), { retryMs: 50, until: AbortSignal.timeout(LIMIT_MS) });
  }

  async status(): Promise<string> {
    return (await this.query<{ status: string }>('select status from runs where id = $1', [this.id]))[0].status;
  }

  stages(): Promise<StageState[]> {
    return this.query(
      `select s.id, s.name, s.status, s.epoch, n.name as worker, coalesce((s.progress->>'done')::int, 0) as done, coalesce((s.account->>'tokens')::int, 0) as tokens, s.waiting_for as "waitingFor"
       from stages s left join nodes n on n.id = s.node_id where s.run_id = $1 order by s.ordinal`,
      [this.id],
    );
  }

  async stage(name: string): Promise<StageState> {
    return (await this.stages()).find((stage) => stage.name === name)!;
  }

  /** Looks until `isSo` holds of a stage. @throws when the run ends before, or nothing happens for ten minutes. */
  async untilStage(name: string, isSo: (stage: StageState) => boolean): Promise<StageState> {
    return this.until(async () => {
      const stage = await this.stage(name);
      return isSo(stage) ? stage : undefined;
    });
  }

  async untilEnded(): Promise<void> {
    await this.until(async () => ((await this.status()) === 'succeeded' ? true : undefined));
  }

  async until<Result>(look: () => Promise<Result | undefined>): Promise<Result> {
    let isOver = false;
    for (const end = Date.now() + LIMIT_MS; Date.now() < end; ) {
      const found = await look();
      if (found !== undefined) return found;
      const [{ status, error }] = await this.query<{ status: string; error: unknown }>('select status, error from runs where id = $1', [this.id]);
      if (isOver) throw new Error(`${this.id} is ${status}: ${JSON.stringify(error)}, and what was waited for never came`);
      isOver = ['succeeded', 'failed', 'cancelled'].includes(status); // one more look at what it left
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
    throw new Error(`nothing came of ${this.id}: ${JSON.stringify(await this.stages())}`);
  }

  /** Events of a type in order; `at` in Unix milliseconds. */
  events(type: string): Promise<{ readonly at: number; readonly data: { readonly stage: string; readonly epoch: number; readonly first_step?: number; readonly step?: number } }[]> {
    return this.query(`select (extract(epoch from at) * 1000)::float8 as at, data from events where run_id = $1 and type = $2 order by seq`, [this.id, type]);
  }

  /** The last step of a stage whose checkpoint is committed; 0 before the first. */
  async committedStep(stage: string): Promise<number> {
    const [{ step }] = await this.query<{ step: number }>(`select coalesce(max(step), 0)::int as step from checkpoints where run_id = $1 and stage = $2 and state = 'committed'`, [this.id, stage]);
    return step;
  }

  /** Where each committed file lies, by name. */
  async places(prefix: string): Promise<Map<string, string>> {
    const rows = await this.query<{ name: string; place: string }>(`select name, place from run_files where run_id = $1 and starts_with(name, $2) order by name`, [this.id, prefix]);
    return new Map(rows.map(({ name, place }) => [name, place]));
  }

  async studentSha256(): Promise<string> {
    const [{ report }] = await this.query<{ report: { student_sha256: string } | null }>('select report from runs where id = $1', [this.id]);
    return report?.student_sha256 ?? 'no report';
  }

  /** Steps of a key in the default view of the charts, in order. */
  async chartedSteps(key: string): Promise<number[]> {
    const client = this.service.client();
    const { data } = await client.get(`${JOBS}/${this.id}/metrics?max_points=2000&keys=${encodeURIComponent(key)}`, MetricsAnswer).finally(() => client.close());
    return data.flatMap(({ points }) => points.map(({ step }) => step));
  }
}

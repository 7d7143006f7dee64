import { Injectable } from '@nestjs/common';
import { newId } from '../common/ids.js';
import { rowsOf } from '../database/database.js';
import type { AnswerPair, CheckpointEvent } from '../distillation/events.js';
import { MetricsService, type MetricBatch } from '../metrics/metrics.service.js';
import { RunFeed, type FeedEntry } from './run-feed.service.js';
import type { Claim, StageProgress } from './stage-claim.js';
import { StageFence } from './stage-fence.js';

export type { StageProgress } from './stage-claim.js';

/** What a worker tells of its stage while it works. Everything throws FencedOut once the stage belongs to another. */
@Injectable()
export class StageReports {
  constructor(
    private readonly fence: StageFence,
    private readonly feed: RunFeed,
    private readonly points: MetricsService,
  ) {}

  /** Shows how far the stage has come. */
  progress(claim: Claim, progress: StageProgress): Promise<void> {
    return this.fence.write(claim, 'update', async (tx) => {
      await tx.query(
        `with told as (update stage_attempts set step = $4 where stage_id = $1 and epoch = $3)
         update stages set progress = $2::jsonb where id = $1`,
        [claim.stageId, JSON.stringify(progress), claim.epoch, Math.floor(progress.done)],
      );
      const message = `${progress.label}: ${progress.done} of ${progress.total} ${progress.unit}`;
      await this.feed.tell(tx, claim.runId, { kind: 'progress', type: 'stage.progress', message, data: { stage: claim.stage, ...progress } });
    });
  }

  /** Adds an event to the run's feed; its data carries stage and epoch. */
  event(claim: Claim, { data, ...entry }: Omit<FeedEntry, 'kind'>): Promise<void> {
    return this.fence.write(claim, 'update', async (tx) => {
      await this.feed.tell(tx, claim.runId, { ...entry, kind: 'event', data: { stage: claim.stage, epoch: claim.epoch, ...data } });
    });
  }

  /** Shows that the stage cannot go on because its teacher is away, or goes on again. */
  teacherAway(claim: Claim, isAway: boolean): Promise<void> {
    return this.fence.write(claim, 'update', async (tx) => {
      await tx.query('update stages set waiting_for = $2 where id = $1', [claim.stageId, isAway ? 'teacher_unavailable' : null]);
      const entry = isAway
        ? { level: 'warn' as const, type: 'teacher.away', message: `${claim.stage} waits: the teacher does not answer` }
        : { type: 'teacher.back', message: `${claim.stage} no longer waits for the teacher` };
      await this.feed.tell(tx, claim.runId, { ...entry, kind: 'event', data: { stage: claim.stage, epoch: claim.epoch } });
    });
  }

  /** Books requests that were sent to the teacher, those that were in vain included. */
  teacherAttempts(claim: Claim, count: number): Promise<void> {
    return this.fence.write(claim, 'update', async (tx) => {
      await tx.query('update stages set teacher_attempts = teacher_attempts + $2 where id = $1', [claim.stageId, count]);
    });
  }

  /** Lists a committed checkpoint, and takes those that made room for it off the list. */
  checkpoint(claim: Claim, { stage, step, name, bytes, metrics, expired }: CheckpointEvent): Promise<void> {
    return this.fence.write(claim, 'update', async (tx) => {
      const [row] = await rowsOf<{ id: string }>(
        tx,
        `insert into checkpoints (id, run_id, stage, step, epoch, name, bytes, metrics, state) values ($1, $2, $3, $4, $5, $6, $7, $8::jsonb, 'committed')
         on conflict (run_id, name) do update set bytes = excluded.bytes, metrics = excluded.metrics, state = 'committed' returning id`,
        [newId('ftckpt'), claim.runId, stage, step, claim.epoch, name, bytes, JSON.stringify(metrics ?? {})],
      );
      await tx.query(`update checkpoints set state = 'expired' where run_id = $1 and state = 'committed' and name = any($2)`, [claim.runId, expired]);
      const data = { stage, epoch: claim.epoch, step, checkpoint: row.id };
      await this.feed.tell(tx, claim.runId, { kind: 'event', type: 'checkpoint.saved', message: `${stage}: checkpoint after step ${step}`, data });
    });
  }

  /** Marks a checkpoint that was found damaged; the run goes on from an older one. */
  quarantine(claim: Claim, { name, message }: { readonly name: string; readonly message: string }): Promise<void> {
    return this.fence.write(claim, 'update', async (tx) => {
      const rows = await rowsOf<{ id: string }>(tx, `update checkpoints set state = 'quarantined' where run_id = $1 and name = $2 returning id`, [claim.runId, name]);
      const data = { stage: claim.stage, epoch: claim.epoch, name, checkpoint: rows[0]?.id ?? null };
      await this.feed.tell(tx, claim.runId, { kind: 'event', level: 'warn', type: 'checkpoint.quarantined', message, data });
    });
  }

  /** Keeps the answers of an evaluation, replacing those under the same label. */
  samples(claim: Claim, label: string, answers: readonly AnswerPair[]): Promise<void> {
    return this.fence.write(claim, 'update', async (tx) => {
      await tx.query('delete from run_samples where run_id = $1 and label = $2', [claim.runId, label]);
      await tx.query(
        `insert into run_samples (run_id, label, index, prompt, teacher, student)
         select $1, $2, a.index, a.prompt, a.teacher, a.student from jsonb_to_recordset($3::jsonb) as a(index int, prompt text, teacher text, student text)`,
        [claim.runId, label, JSON.stringify(answers.map(({ prompt, teacher, student }, index) => ({ index, prompt: storable(prompt), teacher: teacher && storable(teacher), student: storable(student) })))],
      );
    });
  }

  /** Stores measurements; a batch that comes again under its id changes nothing. */
  metrics(claim: Claim, batch: Pick<MetricBatch, 'batchId' | 'points'>): Promise<void> {
    return this.fence.write(claim, 'update', async (tx) => {
      const { inserted, series, alarms } = await this.points.ingest(tx, { ...batch, runId: claim.runId, attempt: claim.epoch });
      if (inserted > 0) await this.feed.tell(tx, claim.runId, { kind: 'metrics', type: 'metrics.added', message: `${inserted} points`, data: { series } });
      for (const { key, attempt, step, value } of alarms) {
        const data = { key, attempt, step, value };
        await this.feed.tell(tx, claim.runId, { kind: 'event', level: 'warn', type: 'warning', message: `${key} is ${value} at step ${step}`, data });
      }
    });
  }
}

/** Models may write the one character that Postgres cannot store. */
function storable(text: string): string {
  return text.replaceAll('\0', '\uFFFD');
}

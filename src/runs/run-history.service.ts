import { Injectable } from '@nestjs/common';
import { listOf, type List, type PageQuery } from '../http/page.js';
import { MetricsService, type SeriesRange } from '../metrics/metrics.service.js';
import { RunHistoryRepository } from './run-history.repository.js';
import type { JobCheckpoint, JobEvent, JobSample, SamplesQuery } from './run-history.schema.js';
import { CursorUnknown } from './runs.errors.js';
import type { CheckpointRow, EventRow, SampleRow } from './runs.rows.js';
import { RunsService } from './runs.service.js';

/** An entry of a job's feed as its stream says it; of kind `metrics` with the points themselves. */
export interface FeedMessage {
  readonly event: 'status' | 'progress' | 'metrics' | 'event';
  readonly seq: number;
  readonly data: object;
}

/** Data of an entry of kind `metrics`: where the points are. */
interface MetricsEntry {
  readonly series: readonly SeriesRange[];
}

/** What a job left behind, page by page. */
@Injectable()
export class RunHistory {
  constructor(
    private readonly runs: RunsService,
    private readonly repository: RunHistoryRepository,
    private readonly metrics: MetricsService,
  ) {}

  /** Newest first. @throws RunUnknown, CursorUnknown */
  async events(id: string, { after, limit }: PageQuery): Promise<List<JobEvent>> {
    await this.runs.state(id);
    const before = after === undefined ? undefined : seqOf(id, after);
    const rows = await this.repository.events(id, { before, limit: limit + 1 });
    return listOf(rows.map((row) => eventOf(id, row)), limit);
  }

  /** A piece of the feed in order, behind the entry numbered `after`. */
  async feed(id: string, after: number, limit: number): Promise<FeedMessage[]> {
    const rows = await this.repository.feed(id, { after, limit });
    return Promise.all(rows.map((row) => this.messageOf(id, row)));
  }

  /** Newest first. @throws RunUnknown, CursorUnknown */
  async checkpoints(id: string, { after, limit }: PageQuery): Promise<List<JobCheckpoint>> {
    await this.runs.state(id);
    const rows = await this.repository.checkpoints(id, { after, limit: limit + 1 });
    if (!rows) throw new CursorUnknown(after ?? '');
    return listOf(rows.map(checkpointOf), limit);
  }

  /** By label and place. @throws RunUnknown, CursorUnknown */
  async samples(id: string, { after, limit, label }: SamplesQuery): Promise<List<JobSample>> {
    await this.runs.state(id);
    const last = after === undefined ? undefined : sampleAt(after);
    const rows = await this.repository.samples(id, { label, after: last, limit: limit + 1 });
    return listOf(rows.map(sampleOf), limit);
  }

  private async messageOf(id: string, row: EventRow): Promise<FeedMessage> {
    const { kind, seq, at, data } = row;
    if (kind === 'event') return { event: kind, seq, data: eventOf(id, row) };
    if (kind === 'metrics') return { event: kind, seq, data: { at, series: await this.metrics.points(id, (data as unknown as MetricsEntry).series) } };
    return { event: kind, seq, data: { at, ...data } };
  }
}

function eventOf(runId: string, { seq, at, level, type, message, data }: EventRow): JobEvent {
  return { id: `${eventPrefix(runId)}${seq}`, object: 'fine_tuning.job.event', created_at: at, level, message, type: 'message', data: { ...data, type, seq } };
}

function eventPrefix(runId: string): string {
  return `ftevent-${runId.slice(runId.indexOf('-') + 1)}-`;
}

function seqOf(runId: string, eventId: string): number {
  const prefix = eventPrefix(runId);
  const digits = eventId.slice(prefix.length);
  if (!eventId.startsWith(prefix) || !/^\d{1,15}$/.test(digits)) throw new CursorUnknown(eventId);
  return Number(digits);
}

function checkpointOf({ id, created_at, run_id, name, step, metrics, stage, state, bytes }: CheckpointRow): JobCheckpoint {
  return { id, object: 'fine_tuning.job.checkpoint', created_at, fine_tuning_job_id: run_id, fine_tuned_model_checkpoint: name, step_number: step, metrics, stage, state, bytes };
}

function sampleOf({ label, index, prompt, teacher, student }: SampleRow): JobSample {
  return { id: `${label}-${index}`, object: 'fine_tuning.job.sample', label, index, prompt, teacher, student };
}

function sampleAt(id: string): { readonly label: string; readonly index: number } {
  const [, label, index] = /^(.{1,64})-(\d{1,9})$/s.exec(id) ?? [];
  if (label === undefined) throw new CursorUnknown(id);
  return { label, index: Number(index) };
}

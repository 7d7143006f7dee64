import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { get as openHttp, type IncomingMessage } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readEvents, type ServerEvent } from '../../src/cli/event-stream.js';
import { MetricsChartRepository } from '../../src/metrics/metrics-chart.repository.js';
import { MetricsIngestRepository } from '../../src/metrics/metrics-ingest.repository.js';
import { MetricsService } from '../../src/metrics/metrics.service.js';
import { RunFeed, type FeedEntry, type RunMove } from '../../src/runs/run-feed.service.js';
import type { Job } from '../../src/runs/runs.schema.js';
import { postJson } from '../support/http-json.js';
import { registerInputs } from '../support/job-inputs.js';
import { startWholeApi, type WholeApi } from '../support/whole-api.js';

const feed = new RunFeed();
let api: WholeApi;
let headers: Record<string, string>;
let body: object;

beforeAll(async () => {
  // Polling is as good as off: what comes in time comes by notification.
  api = await startWholeApi({ streamPollMs: 3_600_000 });
  headers = { authorization: `Bearer ${await api.key('jobs:read', 'jobs:write')}` };
  body = await registerInputs(api.database);
});
afterAll(() => api.close());

const create = async (): Promise<string> => (await postJson<Job>(`${api.url}/v1/fine_tuning/jobs`, body, { headers })).json.id;
const tell = (id: string, entry: FeedEntry): Promise<number> => api.database.transaction((tx) => feed.tell(tx, id, entry));
const move = (id: string, move: RunMove): Promise<unknown> => api.database.transaction((tx) => feed.move(tx, id, move));
const note = (step: number): FeedEntry => ({ kind: 'event', type: 'test.note', message: `note ${step}`, data: { step } });
const cancelled: RunMove = { to: 'cancelled', event: { type: 'job.cancelled', message: 'stopped' } };

const measurements = (): MetricsService => new MetricsService(new MetricsIngestRepository(), new MetricsChartRepository(api.database));

interface Open {
  readonly events: AsyncGenerator<ServerEvent>;
  readonly response: IncomingMessage;
}

async function open(id: string, { lastEventId, query = '' }: { readonly lastEventId?: string; readonly query?: string } = {}): Promise<Open> {
  const request = openHttp(`${api.url}/v1/fine_tuning/jobs/${id}/stream${query}`, { headers: { ...headers, ...(lastEventId !== undefined && { 'last-event-id': lastEventId }) } });
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  return { events: readEvents(response), response };
}

describe('the stream of a job', () => {
  it('says everything from the beginning, follows what comes, and ends after the last status', async () => {
    const id = await create();
    const { events, response } = await open(id);
    expect([response.statusCode, response.headers['content-type']]).toEqual([200, 'text/event-stream; charset=utf-8']);
    const seen = await take(events, 2);
    await tell(id, { kind: 'progress', type: 'stage.progress', message: '', data: { stage: 'collect', label: 'collect', done: 1, total: 2, unit: 'answers', rate: 1 } });
    seen.push(...(await take(events, 1)));
    await move(id, cancelled);
    seen.push(...(await all(events)));
    expect(seen.map(({ id: number, event }) => `${number} ${event}`)).toEqual(['1 event', '2 status', '3 progress', '4 event', '5 status', '5 done']);
    const data = seen.map((event) => JSON.parse(event.data) as Record<string, unknown>);
    expect(data[0]).toMatchObject({ object: 'fine_tuning.job.event', data: { type: 'job.created', seq: 1 } });
    expect(data[2]).toMatchObject({ label: 'collect', done: 1, total: 2 });
    expect(data[4]).toMatchObject({ status: 'cancelled' });
    expect(data[5]).toEqual({ status: 'cancelled' });
  });

  it('loses and repeats nothing over ten forced drops while four writers write', async () => {
    const id = await create();
    const writing = Promise.all([0, 1, 2, 3].map(async (writer) => {
      for (let i = 0; i < 50; i++) await tell(id, note(writer * 50 + i));
    })).then(() => move(id, cancelled));
    const seen: number[] = [];
    let lastEventId: string | undefined;
    let over = false;
    for (let drop = 0; drop <= 10; drop++) {
      const { events, response } = await open(id, { lastEventId });
      let left = drop < 10 ? 15 : Infinity;
      for await (const event of events) {
        if (event.event === 'done') {
          over = true;
          break;
        }
        lastEventId = event.id;
        seen.push(Number(event.id));
        if (--left === 0) break;
      }
      response.destroy();
    }
    await writing;
    expect(over).toBe(true);
    expect(seen).toEqual(Array.from({ length: 204 }, (_, i) => i + 1));
  });

  it('goes on behind the number in the query as well, and says at once that a finished job is over', async () => {
    const id = await create();
    await move(id, cancelled);
    expect((await all((await open(id, { query: '?last_event_id=3' })).events)).map(({ event }) => event)).toEqual(['status', 'done']);
    expect((await all((await open(id, { lastEventId: '4' })).events)).map(({ event }) => event)).toEqual(['done']);
  });

  it('keeps only the newest progress', async () => {
    const id = await create();
    for (const done of [1, 2, 3]) await tell(id, { kind: 'progress', type: 'stage.progress', message: '', data: { done } });
    await move(id, cancelled);
    const progress = (await all((await open(id)).events)).filter(({ event }) => event === 'progress');
    expect(progress.map(({ data }) => (JSON.parse(data) as { done: number }).done)).toEqual([3]);
  });

  it('sends the points that a metrics entry names', async () => {
    const id = await create();
    await api.database.transaction(async (tx) => {
      const points = [1, 2].map((step) => ({ key: 'distill/loss', step, value: 4 - step }));
      const { series } = await measurements().ingest(tx, { runId: id, batchId: randomUUID(), attempt: 1, points });
      await feed.tell(tx, id, { kind: 'metrics', type: 'metrics', message: '', data: { series } });
    });
    await move(id, cancelled);
    const metrics = (await all((await open(id)).events)).find(({ event }) => event === 'metrics');
    expect(JSON.parse(metrics?.data ?? '{}')).toMatchObject({ series: [{ key: 'distill/loss', attempt: 1, points: [{ step: 1, value: 3 }, { step: 2, value: 2 }] }] });
  });

  it('answers 404 as JSON before anything is streamed', async () => {
    const { response } = await open('ftjob-none');
    expect([response.statusCode, response.headers['content-type']]).toEqual([404, 'application/json; charset=utf-8']);
    response.resume();
  });

  it('ends when the service shuts down', async () => {
    const other = await startWholeApi({ streamPollMs: 3_600_000 });
    const key = { authorization: `Bearer ${await other.key('jobs:read', 'jobs:write')}` };
    const { json } = await postJson<Job>(`${other.url}/v1/fine_tuning/jobs`, await registerInputs(other.database), { headers: key });
    const response = await fetch(`${other.url}/v1/fine_tuning/jobs/${json.id}/stream`, { headers: key });
    const rest = response.text();
    await other.close();
    expect(await rest).toContain('event: status');
  });
});

async function take(events: AsyncGenerator<ServerEvent>, count: number): Promise<ServerEvent[]> {
  const taken: ServerEvent[] = [];
  while (taken.length < count) {
    const next = await events.next();
    if (next.done) throw new Error(`the stream ended after ${taken.length} of ${count} events`);
    taken.push(next.value);
  }
  return taken;
}

async function all(events: AsyncGenerator<ServerEvent>): Promise<ServerEvent[]> {
  const seen: ServerEvent[] = [];
  for await (const event of events) seen.push(event);
  return seen;
}

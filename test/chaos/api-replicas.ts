import { setTimeout as pause } from 'node:timers/promises';
import type OpenAI from 'openai';
import type { JobCreateParams } from 'openai/resources/fine-tuning/jobs/jobs';
import { readEvents } from '../../src/cli/event-stream.js';
import { drawUniform } from '../../src/common/philox.js';
import type { Database } from '../../src/database/database.js';
import { RunFeed } from '../../src/runs/run-feed.service.js';
import type { ApiReplica } from '../support/api-replica.js';
import { failover } from '../support/failover.js';
import type { TwoReplicas } from '../support/two-replicas.js';

/** A kill comes at most this long after a submission was sent: before it is read, in the middle of it, or behind its answer. */
const KILL_WITHIN_MS = 30;
const BETWEEN_ENTRIES_MS = 5;
const JOBS = '/fine_tuning/jobs';

/** How much is done while how often is killed. */
export interface ReplicaStory {
  readonly submissions: number;
  readonly kills: number;
  /** Entries of the feed that is streamed meanwhile. */
  readonly entries: number;
  readonly seed: number;
}

/** What a client saw. */
export interface ReplicaTale {
  /** Ids that the submissions were answered, in order. */
  readonly answered: readonly string[];
  /** Ids of all jobs there are, by the label they were submitted with, in the order of labels. */
  readonly stored: readonly { readonly id: string; readonly label: string }[];
  /** What listings, made while a replica was dead and at the end, lacked of the jobs submitted before them or held twice. */
  readonly flaws: readonly string[];
  /** Numbers of the streamed entries, as they came. */
  readonly streamed: readonly number[];
  /** How often the stream was taken up again. */
  readonly reconnects: number;
  readonly failovers: number;
}

/** A client submits, lists and streams while the replica that it asks is killed and started again, now this one and now that. */
export async function tellReplicaStory(service: TwoReplicas, story: ReplicaStory): Promise<ReplicaTale> {
  const way = failover([service.first.url, service.second.url]);
  const client = service.client(way);
  const followed = await client.fineTuning.jobs.create(service.body as JobCreateParams, keyed('followed'));
  const writing = writeFeed(service.database, followed.id, story.entries);
  const reading = follow(client, followed.id);
  const { answered, flaws } = await submitAll(client, story, { body: service.body, inUse: () => (way.current() === service.first.url ? service.first : service.second) });
  await writing;
  const stored = await service.database.query<{ id: string; label: string }>(`select id, metadata->>'label' as label from runs where metadata ? 'label' order by (metadata->>'label')::int`);
  return { answered, stored, flaws, ...(await reading), failovers: way.failovers() };
}

/** Submits one after the other and lists in between; some submissions have the replica in use killed under them, and started again behind them. */
async function submitAll(
  client: OpenAI,
  { submissions, kills, seed }: ReplicaStory,
  { body, inUse }: { readonly body: object; readonly inUse: () => ApiReplica },
): Promise<Pick<ReplicaTale, 'answered' | 'flaws'>> {
  const answered: string[] = [];
  const flaws: string[] = [];
  const every = Math.floor(submissions / kills);
  let restarted: Promise<void> = Promise.resolve();
  for (let label = 0; label < submissions; label++) {
    const isKilled = label % every === every - 1 && label < kills * every;
    if (isKilled) await restarted;
    const victim = inUse();
    const killed = isKilled ? pause(KILL_WITHIN_MS * drawUniform({ seed, stage: 0, step: 0, sample: label, position: 0 })).then(() => victim.kill()) : undefined;
    const { id } = await client.fineTuning.jobs.create({ ...body, metadata: { label: String(label) } } as unknown as JobCreateParams, keyed(`label-${label}`));
    answered.push(id);
    if (!killed) continue;
    await killed;
    flaws.push(...(await flawsOf(client, answered)));
    restarted = victim.restart();
  }
  await restarted;
  flaws.push(...(await flawsOf(client, answered)));
  return { answered, flaws };
}

/** Lists page after page. @returns what of the jobs answered so far is missing or there twice */
async function flawsOf(client: OpenAI, answered: readonly string[]): Promise<string[]> {
  const times = new Map<string, number>();
  for await (const { id } of client.fineTuning.jobs.list({ limit: 7 })) times.set(id, (times.get(id) ?? 0) + 1);
  const missing = answered.filter((id) => !times.has(id)).map((id) => `${id} is missing`);
  const twice = [...times].filter(([, count]) => count > 1).map(([id]) => `${id} is listed twice`);
  return [...missing, ...twice];
}

/** Tells the job's feed as a worker would, an entry a transaction, and at last ends the job. */
async function writeFeed(database: Database, id: string, entries: number): Promise<void> {
  const feed = new RunFeed();
  for (let entry = 1; entry < entries; entry++) {
    await database.transaction((tx) => feed.tell(tx, id, { kind: 'event', type: 'told', message: `entry ${entry}` }));
    await pause(BETWEEN_ENTRIES_MS); // the feed is to grow while replicas die
  }
  await database.transaction((tx) => feed.move(tx, id, { to: 'cancelled', event: { type: 'job.cancelled', message: 'the job was cancelled' } }));
}

/** Reads the job's stream to its end, going on behind the last entry wherever it breaks. */
async function follow(client: OpenAI, id: string): Promise<{ readonly streamed: readonly number[]; readonly reconnects: number }> {
  const streamed: number[] = [];
  for (let reconnects = 0; ; reconnects++) {
    const last = streamed.at(-1);
    const response = await client.get(`${JOBS}/${id}/stream`, { headers: last === undefined ? {} : { 'last-event-id': String(last) } }).asResponse();
    if (await readInto(streamed, response)) return { streamed, reconnects };
  }
}

/** @returns whether the stream came to its end, and did not break */
async function readInto(streamed: number[], { body }: Response): Promise<boolean> {
  try {
    for await (const { event, id } of readEvents(body as unknown as AsyncIterable<Uint8Array>)) {
      if (event === 'done') return true;
      streamed.push(Number(id));
    }
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // how fetch says that the connection broke
  }
  return false;
}

function keyed(key: string): { readonly headers: Record<string, string> } {
  return { headers: { 'Idempotency-Key': key } };
}

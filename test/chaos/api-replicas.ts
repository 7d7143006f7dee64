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
const KEY = 'Idempotency-Key';

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
  /** Answers that were lost between commit and reply. */
  readonly lostAnswers: number;
  readonly failovers: number;
}

/** A client submits, lists and streams while the replica that it asks is killed and started again, now this one and now that. */
export async function tellReplicaStory(service: TwoReplicas, story: ReplicaStory): Promise<ReplicaTale> {
  const killer = new Killer(service, story.seed);
  const way = failover([service.first.url, service.second.url], (init) => killer.onWay(new Headers(init?.headers).get(KEY)));
  const client = service.client(way);
  const followed = await client.fineTuning.jobs.create(service.body as JobCreateParams, keyed('followed'));
  const writing = writeFeed(service.database, followed.id, story.entries);
  const reading = follow(client, followed.id);
  const { answered, flaws } = await submitAll(client, story, { body: service.body, killer, current: way.current });
  await writing;
  const stored = await service.database.query<{ id: string; label: string }>(`select id, metadata->>'label' as label from runs where metadata ? 'label' order by (metadata->>'label')::int`);
  return { answered, stored, flaws, ...(await reading), lostAnswers: killer.lostAnswers, failovers: way.failovers() };
}

/** Kills the replica in use under a submission: half of the time at any moment, else exactly between commit and reply. */
class Killer {
  lostAnswers = 0;
  private restarted: Promise<void> = Promise.resolve();
  private doomed: { readonly key: string; readonly victim: ApiReplica } | undefined;

  constructor(
    private readonly service: TwoReplicas,
    private readonly seed: number,
  ) {}

  /** Plans a kill under the submission with this key, which is sent now. @returns what restarts the victim once it is dead */
  async plan(label: number, url: string): Promise<() => Promise<void>> {
    await this.restarted;
    const { first, second } = this.service;
    const victim = url === first.url ? first : second;
    const [mode, moment] = [0, 1].map((position) => drawUniform({ seed: this.seed, stage: 0, step: 0, sample: label, position }));
    const killed = mode < 0.5 ? pause(KILL_WITHIN_MS * moment).then(() => victim.kill()) : undefined;
    if (!killed) this.doomed = { key: keyOf(label), victim };
    return async () => {
      await killed;
      this.restarted = victim.restart();
    };
  }

  /** An answer is on its way. @throws TypeError when it is lost with its sender */
  async onWay(key: string | null): Promise<void> {
    const { doomed } = this;
    if (doomed?.key !== key || !doomed) return;
    this.doomed = undefined;
    this.lostAnswers++;
    await doomed.victim.kill();
    throw new TypeError('the connection broke before the answer was there');
  }

  end(): Promise<void> {
    return this.restarted;
  }
}

/** Submits one after the other, some with a kill under them, and lists while a replica is dead and at the end. */
async function submitAll(
  client: OpenAI,
  { submissions, kills }: ReplicaStory,
  { body, killer, current }: { readonly body: object; readonly killer: Killer; readonly current: () => string },
): Promise<Pick<ReplicaTale, 'answered' | 'flaws'>> {
  const answered: string[] = [];
  const flaws: string[] = [];
  const every = Math.floor(submissions / kills);
  for (let label = 0; label < submissions; label++) {
    const isKilled = label % every === every - 1 && label < kills * every;
    const restart = isKilled ? await killer.plan(label, current()) : undefined;
    const { id } = await client.fineTuning.jobs.create({ ...body, metadata: { label: String(label) } } as unknown as JobCreateParams, keyed(keyOf(label)));
    answered.push(id);
    if (!restart) continue;
    flaws.push(...(await flawsOf(client, answered)));
    await restart();
  }
  await killer.end();
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

function keyOf(label: number): string {
  return `label-${label}`;
}

function keyed(key: string): { readonly headers: Record<string, string> } {
  return { headers: { [KEY]: key } };
}

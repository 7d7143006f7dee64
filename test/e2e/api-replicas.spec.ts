import pg from 'pg';
import type { JobCreateParams } from 'openai/resources/fine-tuning/jobs/jobs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { tellReplicaStory } from '../chaos/api-replicas.js';
import { failover } from '../support/failover.js';
import { postJson } from '../support/http-json.js';
import { TwoReplicas } from '../support/two-replicas.js';

const JOBS = '/v1/fine_tuning/jobs';

let service: TwoReplicas;

beforeEach(async () => {
  service = await TwoReplicas.start();
});
afterEach(() => service.close());

const jobs = (): Promise<{ id: string }[]> => service.database.query<{ id: string }>('select id from runs order by created_at');
const count = async (sql: string): Promise<number> => (await service.database.query<{ count: number }>(`select count(*)::int as count from ${sql}`))[0].count;

describe('two replicas of the API', () => {
  it('lose nothing and double nothing for a client that submits, lists and streams while one of them is killed', async () => {
    const tale = await tellReplicaStory(service, { submissions: 8, kills: 2, entries: 200, seed: 1 });

    expect(tale.stored.map(({ label }) => label)).toEqual(Array.from({ length: 8 }, (_, label) => String(label)));
    expect(tale.stored.map(({ id }) => id)).toEqual(tale.answered);
    expect(tale.flaws).toEqual([]);
    expect(tale.streamed).toEqual(Array.from({ length: 203 }, (_, index) => index + 1));
    expect([tale.reconnects > 0, tale.failovers > 0]).toEqual([true, true]);
  });

  it('answer a request with the same job when the one that took it is killed between commit and reply', async () => {
    const { first, second } = service;
    const headers = { authorization: `Bearer ${service.apiKey}`, 'idempotency-key': 'once' };
    const lost = postJson(`${first.url}${JOBS}`, service.body, { headers }).catch(() => undefined); // its answer is not looked at
    await expect.poll(() => count('idempotency_keys'), { timeout: 60_000, interval: 1 }).toBe(1);
    await first.kill();
    await lost;

    const answer = await postJson<{ id: string }>(`${second.url}${JOBS}`, service.body, { headers });

    expect(await jobs()).toEqual([{ id: answer.json.id }]);
  });

  it('let go of a key within seconds when the one that works on it is killed in the middle of its transaction', async () => {
    const client = service.client(failover([service.first.url, service.second.url]));
    const headers = { authorization: `Bearer ${service.apiKey}`, 'idempotency-key': 'held' };
    const lock = new pg.Client({ connectionString: service.databaseUrl });
    await lock.connect();
    await lock.query('begin; lock table models in access exclusive mode');
    const lost = postJson(`${service.first.url}${JOBS}`, service.body, { headers }).catch(() => undefined);
    await expect.poll(() => count(`pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`), { timeout: 60_000, interval: 10 }).toBe(1);
    const refused = await postJson<{ error: { code: string } }>(`${service.second.url}${JOBS}`, service.body, { headers });
    await service.first.kill();
    await lost;

    // The lock still stands: nothing but the death of its client ends the statement that waits for it.
    await expect.poll(() => count(`pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`), { timeout: 15_000, interval: 50 }).toBe(0);
    await lock.query('commit');
    await lock.end();
    const { id } = await client.fineTuning.jobs.create(service.body as unknown as JobCreateParams, { headers });

    expect(refused.json.error.code).toBe('idempotency.in_flight');
    expect(await jobs()).toEqual([{ id }]);
  });
});

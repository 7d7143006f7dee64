import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import type { JobCreateParams } from 'openai/resources/fine-tuning/jobs/jobs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { tellReplicaStory } from '../chaos/api-replicas.js';
import { failover } from '../support/failover.js';
import { postJson } from '../support/http-json.js';
import { useScratchDir } from '../support/scratch-dir.js';
import { writeTinyModel } from '../support/tiny-model.js';
import { TwoReplicas } from '../support/two-replicas.js';

const JOBS = '/v1/fine_tuning/jobs';

const scratch = useScratchDir();
let service: TwoReplicas;

beforeEach(async () => {
  service = await TwoReplicas.start();
});
afterEach(() => service.close());

const jobs = (): Promise<{ id: string }[]> => service.database.query<{ id: string }>('select id from runs order by created_at');
const count = async (sql: string): Promise<number> => (await service.database.query<{ count: number }>(`select count(*)::int as count from ${sql}`))[0].count;

/** Lets writers of models wait until the connection ends. */
async function lockModels(mode: 'access exclusive' | 'share'): Promise<pg.Client> {
  const lock = new pg.Client({ connectionString: service.databaseUrl });
  await lock.connect();
  await lock.query(`begin; lock table models in ${mode} mode`);
  return lock;
}

const waiting = (statements: number): Promise<void> =>
  expect.poll(() => count(`pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`), { timeout: 25_000, interval: 20 }).toBe(statements);

describe('two replicas of the API', () => {
  it('lose nothing and double nothing for a client that submits, lists and streams while one of them is killed', async () => {
    const tale = await tellReplicaStory(service, { submissions: 8, kills: 2, entries: 200, seed: 1 });

    expect(tale.stored.map(({ label }) => label)).toEqual(Array.from({ length: 8 }, (_, label) => String(label)));
    expect(tale.stored.map(({ id }) => id)).toEqual(tale.answered);
    expect(tale.flaws).toEqual([]);
    expect(tale.streamed).toEqual(Array.from({ length: 203 }, (_, index) => index + 1));
    expect([tale.reconnects > 0, tale.lostAnswers > 0, tale.failovers > 0]).toEqual([true, true, true]);
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
    const lock = await lockModels('access exclusive');
    const lost = postJson(`${service.first.url}${JOBS}`, service.body, { headers }).catch(() => undefined);
    await waiting(1);
    const refused = await postJson<{ error: { code: string } }>(`${service.second.url}${JOBS}`, service.body, { headers });
    await service.first.kill();
    await lost;

    // The lock still stands: nothing but the death of its client ends the statement that waits for it.
    await waiting(0);
    await lock.end();
    const { id } = await client.fineTuning.jobs.create(service.body as unknown as JobCreateParams, { headers });

    expect(refused.json.error.code).toBe('idempotency.in_flight');
    expect(await jobs()).toEqual([{ id }]);
  });

  it('make a model of what was sent to the one that was killed while it made a model of it', async () => {
    const { first, second } = service;
    const headers = { authorization: `Bearer ${service.apiKey}`, 'idempotency-key': 'commit' };
    const dir = await writeTinyModel(scratch('tiny'));
    for (const file of readdirSync(dir)) await fetch(`${first.url}/v1/models/pushed/files/${file}`, { method: 'PUT', body: readFileSync(join(dir, file)), headers: { ...headers, 'content-type': 'application/octet-stream' } });
    const lock = await lockModels('share');
    const lost = postJson(`${first.url}/v1/models`, { id: 'pushed' }, { headers }).catch(() => undefined);
    await waiting(1);
    await first.kill();
    await lost;
    await waiting(0);
    await lock.end();

    const answers = [await postJson<{ id: string }>(`${second.url}/v1/models`, { id: 'pushed' }, { headers }), await postJson<{ id: string }>(`${second.url}/v1/models`, { id: 'pushed' }, { headers })];

    expect(answers.map(({ status, json }) => [status, json.id])).toEqual([[200, 'pushed'], [200, 'pushed']]);
    expect(await count(`models where name = 'pushed'`)).toBe(1);
  });
});

import { afterEach, beforeEach, expect, it } from 'vitest';
import { TwoReplicas } from '../support/two-replicas.js';
import { tellReplicaStory } from './api-replicas.js';

const SUBMISSIONS = 40;
const ENTRIES = 1_500;
/** Of a followed job beside those told to it: created and validating, cancelled and its status. */
const OWN_ENTRIES = 4;

let service: TwoReplicas;

beforeEach(async () => {
  service = await TwoReplicas.start();
});
afterEach(() => service.close());

it.each([1, 2, 3])('a client of two replicas, one of them killed eight times while it submits, lists and streams, loses nothing and doubles nothing (seed %i)', async (seed) => {
  const tale = await tellReplicaStory(service, { submissions: SUBMISSIONS, kills: 8, entries: ENTRIES, seed });

  expect(tale.stored.map(({ label }) => label)).toEqual(Array.from({ length: SUBMISSIONS }, (_, label) => String(label)));
  expect(tale.stored.map(({ id }) => id)).toEqual(tale.answered);
  expect(tale.flaws).toEqual([]);
  expect(tale.streamed).toEqual(Array.from({ length: ENTRIES - 1 + OWN_ENTRIES }, (_, index) => index + 1));
  console.log(`seed ${seed}: ${SUBMISSIONS} jobs, ${tale.streamed.length} entries; ${tale.lostAnswers} answers were lost behind their commit, ${tale.failovers} times the client went to the other replica, the stream was taken up again ${tale.reconnects} times`);
});

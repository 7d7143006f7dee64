import { TwoReplicas } from '../support/two-replicas.js';
import { tellReplicaStory, type ReplicaStory } from './api-replicas.js';
import { Claims, type ChaosRow } from './table.js';

/** Of a followed job beside those told to it: created and validating, cancelled and its status. */
const OWN_ENTRIES = 4;

/** C18: kills one of two API replicas under the stock OpenAI client, at any moment and exactly between commit and reply. */
export async function killReplicas(story: ReplicaStory): Promise<ChaosRow> {
  const claims = new Claims();
  const service = await TwoReplicas.start();
  const tale = await tellReplicaStory(service, story).finally(() => service.close());
  claims.equal('jobs, by label', tale.stored.map(({ label }) => label), Array.from({ length: story.submissions }, (_, label) => String(label)));
  claims.equal('ids of the jobs', tale.stored.map(({ id }) => id), tale.answered);
  claims.equal('what listings lacked or doubled', tale.flaws, []);
  claims.equal('streamed numbers', tale.streamed, Array.from({ length: story.entries - 1 + OWN_ENTRIES }, (_, index) => index + 1));
  const seen = `${tale.stored.length} jobs of ${story.submissions} keys, ${tale.lostAnswers} answers lost between commit and reply, ${tale.failovers} requests went to the other replica, the stream of ${tale.streamed.length} entries taken up again ${tale.reconnects} times`;
  return { id: 'C18', fault: `one of two API replicas killed while a client submits, lists and streams (seed ${story.seed})`, times: story.kills, mustHold: 'nothing lost, nothing doubled', seen, broken: claims.broken };
}

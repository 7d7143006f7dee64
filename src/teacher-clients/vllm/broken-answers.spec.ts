import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FAKE_VOCAB, FakeTeacher, type Behaviour, type FakeChoice, type FakeLogprob } from '../../../test/support/fake-teacher/fake-teacher.js';
import type { Sampling } from '../../tokens/sample.js';
import { TeacherAnswerInvalid } from '../teacher-client.js';
import { VllmTeacherClient } from './vllm-teacher-client.js';

const SAMPLING: Sampling = { temperature: 1, topP: 1, topK: 0, maxTokens: 3, stopIds: [7] };

/** Every rule of the contract with an answer that breaks it, and words of the error that name it. */
const BROKEN_SCORES: readonly { name: string; change: (choice: FakeChoice) => void; says: RegExp }[] = [
  { name: 'no prompt_logprobs', change: (choice) => (choice.prompt_logprobs = null), says: /no prompt_logprobs/ },
  { name: 'one entry too few', change: (choice) => choice.prompt_logprobs?.pop(), says: /3 entries for 4 ids/ },
  { name: 'one entry too many', change: (choice) => choice.prompt_logprobs?.push({}), says: /5 entries for 4 ids/ },
  { name: 'an entry at position 0', change: (choice) => (choice.prompt_logprobs = [row(choice, 1), row(choice, 1), row(choice, 2), row(choice, 3)]), says: /entry at position 0/ },
  { name: 'null later on', change: (choice) => choice.prompt_logprobs?.splice(2, 1, null), says: /position 2: it has no log-probs/ },
  { name: 'a prompt tokenised anew', change: (choice) => (choice.prompt_token_ids = [1, 2, 4, 4]), says: /changed at position 2 \(sent 3, echoed 4\)/ },
  { name: 'a longer prompt echoed', change: (choice) => choice.prompt_token_ids?.push(9), says: /changed at position 4/ },
  { name: 'a log-prob above 0', change: (choice) => (best(choice, 1).logprob = 0.01), says: /position 1: id \d+ has log-prob 0.01, which is above 0; serve with --logprobs-mode raw_logprobs/ },
  { name: 'probabilities above 1', change: (choice) => Object.values(row(choice, 1)).forEach((entry) => (entry.logprob = -0.5)), says: /sum to 2\.\d+, above 1/ },
  { name: 'no actual id', change: (choice) => delete row(choice, 2)['3'], says: /position 2: the actual id 3 is not among/ },
  { name: 'fewer ids than asked for', change: (choice) => choice.prompt_logprobs?.splice(1, 1, { '2': low(), '3': low() }), says: /position 1: it holds 2 ids where 3 were asked for/ },
  { name: 'one of the best lost to the actual id', change: (choice) => delete row(choice, 1)[bestKey(choice, 1)], says: /position 1: it holds 3 ids, but the actual id 2 ranks \d+th/ },
  { name: 'an id that no padding of the head explains', change: foreign, says: /position 1: ids outside the vocabulary of 32 have a probability of 0[.]\d+ together/ },
  { name: 'more ids than asked for', change: (choice) => Object.assign(row(choice, 1), { '20': low(), '21': low(), '22': low() }), says: /where 3 were asked for/ },
  { name: 'an actual id above the best, sent on top', change: misplaced, says: /actual id 4 has log-prob -1, above the last of the best, -5/ },
  { name: 'text for a log-prob', change: (choice) => Object.assign(best(choice, 1), { logprob: 'NaN' }), says: /NaN is not a log-prob/ },
  { name: 'null for a log-prob', change: (choice) => Object.assign(best(choice, 1), { logprob: null }), says: /null is not a log-prob/ },
  { name: 'a key that is no id', change: (choice) => Object.assign(row(choice, 1), { Paris: low() }), says: /Paris is not an id/ },
];

const BROKEN_COMPLETIONS: readonly { name: string; change: (choice: FakeChoice) => void; says: RegExp }[] = [
  { name: 'an abort', change: (choice) => (choice.finish_reason = 'abort'), says: /ended because of abort/ },
  { name: 'no ids', change: (choice) => delete choice.token_ids, says: /no token_ids; vLLM from 0.10.2/ },
  { name: 'no log-probs', change: (choice) => (choice.logprobs = null), says: /no logprobs/ },
  { name: 'nothing written', change: (choice) => (choice.token_ids = []), says: /0 tokens where 1 to 3/ },
  { name: 'more than asked for', change: (choice) => choice.token_ids?.push(8), says: /4 tokens where 1 to 3/ },
  { name: 'log-probs of another length', change: (choice) => choice.logprobs?.top_logprobs.pop(), says: /3 ids, but 3 tokens, 3 token_logprobs and 2 top_logprobs/ },
  { name: 'names that are text', change: (choice) => choice.logprobs?.tokens.splice(0, 1, 'Paris'), says: /token 0: its name is Paris, its id 5/ },
  { name: 'text among the best', change: (choice) => Object.assign(choice.logprobs?.top_logprobs[1] ?? {}, { Paris: -9 }), says: /Paris is not the name of an id/ },
  { name: 'two values for one id', change: (choice) => choice.logprobs?.token_logprobs.splice(1, 1, -0.123), says: /token 1: its log-prob is -0.123 in token_logprobs/ },
  { name: 'an id outside the vocabulary', change: outside, says: /its id 40 is outside the vocabulary of 32 ids/ },
  { name: 'a prompt tokenised anew', change: (choice) => (choice.prompt_token_ids = [2]), says: /changed at position 0/ },
];

const BROKEN_BODIES: readonly { name: string; behaviour: Behaviour; says: RegExp }[] = [
  { name: 'a web page', behaviour: { kind: 'text', text: '<!doctype html><title>Welcome</title>' }, says: /not JSON: <!doctype html>.*base_url/ },
  { name: 'JSON with NaN, as Python may write it', behaviour: { kind: 'text', text: '{"choices":[{"prompt_logprobs":[NaN]}]}' }, says: /not JSON/ },
  { name: 'JSON of another form', behaviour: { kind: 'text', text: '{"object":"list"}' }, says: /not the form of a completion/ },
  { name: 'two choices', behaviour: { kind: 'text', text: '{"choices":[{},{}]}' }, says: /2 choices where 1 was asked for/ },
  { name: 'no end', behaviour: { kind: 'flood' }, says: /more than the 1050176 bytes/ }, // 4 ids x (3 + 1) entries x 100 bytes + 1 MiB
  { name: 'a length beyond that, before any byte of it', behaviour: { kind: 'status', status: 200, body: '{}', headers: { 'content-length': '1050177' } }, says: /more than the 1050176 bytes/ },
  { name: 'a length shorter than itself', behaviour: { kind: 'status', status: 200, body: '{"choices":[]}', headers: { 'content-length': '5' } }, says: /not JSON: \{"cho/ },
  { name: 'nesting without end', behaviour: { kind: 'text', text: `{"choices":${'['.repeat(64)}${']'.repeat(64)}}` }, says: /nested more than 64 deep/ },
  { name: 'a packed body', behaviour: { kind: 'status', status: 200, body: 'x', headers: { 'content-encoding': 'gzip' } }, says: /packed body \(gzip\), though/ },
];

describe('the vLLM client refuses an answer with', () => {
  let fake: FakeTeacher;
  let client: VllmTeacherClient;

  // A client for each answer: one that sees many such would stop.
  beforeEach(async () => {
    fake = await FakeTeacher.start();
    client = new VllmTeacherClient({ baseUrl: fake.baseUrl, model: 'fake', vocabSize: FAKE_VOCAB, limits: { tries: 1 } });
  });

  afterEach(async () => {
    await client.close();
    await fake.close();
  });

  const expectRefusal = async (behaviour: Behaviour, says: RegExp, ask: () => AsyncIterable<unknown>): Promise<void> => {
    fake.next('/v1/completions', behaviour);
    const before = fake.received.length;
    const outcome = await collect(ask()).catch((error: unknown) => error);
    expect(outcome).toBeInstanceOf(TeacherAnswerInvalid);
    expect(String(outcome)).toMatch(says);
    expect(fake.received.length - before).toBe(1);
  };
  const score = (): AsyncIterable<unknown> => client.score([{ ids_T: Int32Array.of(1, 2, 3, 4), from: 1 }], 3);
  const generate = (): AsyncIterable<unknown> => client.generate([{ ids_T: Int32Array.of(1, 2), seed: 0 }], SAMPLING, 3);

  it.each(BROKEN_SCORES)('scores: $name', ({ change, says }) => expectRefusal({ kind: 'changed', change }, says, score));
  it.each(BROKEN_COMPLETIONS)('completion: $name', ({ change, says }) => expectRefusal({ kind: 'changed', change }, says, generate));
  it.each(BROKEN_BODIES)('body: $name', ({ behaviour, says }) => expectRefusal(behaviour, says, score));
});

async function collect(items: AsyncIterable<unknown>): Promise<unknown[]> {
  const found: unknown[] = [];
  for await (const item of items) found.push(item);
  return found;
}

function row(choice: FakeChoice, position: number): Record<string, FakeLogprob> {
  const found = choice.prompt_logprobs?.[position];
  if (!found) throw new Error(`the fake gave nothing at position ${position}`);
  return found;
}

function bestKey(choice: FakeChoice, position: number): string {
  const [[key]] = Object.entries(row(choice, position)).sort(([, a], [, b]) => a.rank - b.rank);
  return key;
}

function best(choice: FakeChoice, position: number): FakeLogprob {
  return row(choice, position)[bestKey(choice, position)];
}

function low(): FakeLogprob {
  return { logprob: -30, rank: 99, decoded_token: '' };
}

/** One of the best under an id that the student has not. */
function foreign(choice: FakeChoice): void {
  row(choice, 1)['2000000'] = best(choice, 1);
  delete row(choice, 1)[bestKey(choice, 1)];
}

/** A row of three best ids and the actual id 4 on top of them, yet likelier than they. */
function misplaced(choice: FakeChoice): void {
  const entry = (logprob: number, rank: number): FakeLogprob => ({ logprob, rank, decoded_token: '' });
  choice.prompt_logprobs?.splice(3, 1, { '10': entry(-3, 1), '11': entry(-4, 2), '12': entry(-5, 3), '4': entry(-1, 4) });
}

function outside(choice: FakeChoice): void {
  choice.token_ids?.splice(0, 1, 40);
  choice.logprobs?.tokens.splice(0, 1, 'token_id:40');
  const [row] = choice.logprobs?.top_logprobs ?? [];
  row['token_id:40'] = row['token_id:5'];
  delete row['token_id:5'];
}

import { z } from 'zod';
import type { Finish, TokenIds } from '../../tokens/sample.js';
import type { TargetBlock } from '../../tokens/target.js';
import { TeacherAnswerInvalid } from '../teacher-client.js';
import { TargetRows, type Entry } from './target-rows.js';

// Log-probs are left unparsed here: there are tens of thousands of them in a reply, and each is checked once, by its own rule.
const Choice = z.object({
  finish_reason: z.string().nullish(),
  token_ids: z.array(z.int()).nullish(),
  prompt_token_ids: z.array(z.int()).nullish(),
  prompt_logprobs: z.array(z.unknown()).nullish(),
  logprobs: z.object({ tokens: z.array(z.string()), token_logprobs: z.array(z.unknown()), top_logprobs: z.array(z.unknown()) }).nullish(),
});
const Reply = z.object({ choices: z.array(Choice) });
type Choice = z.output<typeof Choice>;

/** How far a log-prob may differ from itself: a server may compute the chosen token's and the list's on two paths, which differ in the last bits. */
const SAME_LOG_PROB = 1e-4;

/** What a reply must answer. */
export interface Asked {
  /** Index of the prompt or sequence in the caller's request. */
  readonly index: number;
  readonly ids_T: TokenIds;
  readonly k: number;
  readonly vocabSize: number;
}

/** What the teacher wrote after `Asked.ids_T`. */
export interface Written {
  readonly completion_T: TokenIds;
  readonly finish: Finish;
  readonly targets: TargetBlock;
}

/** Reads the answer to a request for a completion of one prompt. @throws TeacherAnswerInvalid */
export function readCompletion(reply: unknown, asked: Asked, maxTokens: number): Written {
  const where = `completion of prompt ${asked.index}`;
  const choice = onlyChoice(reply, where);
  checkPrompt(choice, asked, where);
  const { finish_reason: finish, token_ids: ids, logprobs } = choice;
  if (finish !== 'stop' && finish !== 'length') return invalid(where, `it ended because of ${String(finish)}; only stop and length are whole answers`);
  if (!ids || !logprobs) return invalid(where, `it has no ${ids ? 'logprobs' : 'token_ids'}; vLLM from 0.10.2 on gives both`);
  if (ids.length === 0 || ids.length > maxTokens) invalid(where, `it has ${ids.length} tokens where 1 to ${maxTokens} were asked for`);
  const { tokens, token_logprobs, top_logprobs } = logprobs;
  if ([tokens, token_logprobs, top_logprobs].some(({ length }) => length !== ids.length)) {
    invalid(where, `it has ${ids.length} ids, but ${tokens.length} tokens, ${token_logprobs.length} token_logprobs and ${top_logprobs.length} top_logprobs`);
  }
  const rows = new TargetRows(asked);
  ids.forEach((actualId, t) => {
    const place = `${where}, token ${t}`;
    if (tokens[t] !== tokenName(actualId)) invalid(place, `its name is ${tokens[t]}, its id ${actualId}; names must be ids (return_tokens_as_token_ids)`);
    const entries = namedEntries(top_logprobs[t], place);
    rows.add({ entries, actualId, where: place });
    const own = entries.find(({ id }) => id === actualId);
    if (!own || !(Math.abs(own.logProb - Number(token_logprobs[t] ?? NaN)) <= SAME_LOG_PROB)) invalid(place, `its log-prob is ${String(token_logprobs[t])} in token_logprobs and ${String(own?.logProb)} in top_logprobs`);
  });
  return { completion_T: Int32Array.from(ids), finish, targets: rows.block(asked.index) };
}

/** Reads the answer to a request for log-probs along a sequence; rows are those of `ids_T[from]` to the last, whatever is sent before. @throws TeacherAnswerInvalid */
export function readScores(reply: unknown, asked: Asked, from: number): TargetBlock {
  const where = `scores of sequence ${asked.index}`;
  const choice = onlyChoice(reply, where);
  checkPrompt(choice, asked, where);
  const sent = choice.prompt_logprobs;
  if (!sent) return invalid(where, 'they have no prompt_logprobs; the server, or something between, does not speak the vLLM dialect');
  if (sent.length !== asked.ids_T.length) invalid(where, `they have ${sent.length} entries for ${asked.ids_T.length} ids`);
  if (sent[0] !== null) invalid(where, 'they have an entry at position 0, which nothing predicts');
  const rows = new TargetRows(asked);
  for (let t = from; t < sent.length; t++) {
    const place = `${where}, position ${t}`;
    rows.add({ entries: keyedEntries(sent[t], place), actualId: asked.ids_T[t], where: place });
  }
  return rows.block(asked.index);
}

function onlyChoice(reply: unknown, where: string): Choice {
  const parsed = Reply.safeParse(reply);
  if (!parsed.success) return invalid(where, `the reply has not the form of a completion: ${z.prettifyError(parsed.error)}`);
  const { choices } = parsed.data;
  if (choices.length !== 1) return invalid(where, `the reply has ${choices.length} choices where 1 was asked for`);
  return choices[0];
}

/** Servers that do not echo the prompt are believed; one that echoes other ids has tokenised it anew. */
function checkPrompt({ prompt_token_ids: echoed }: Choice, { ids_T }: Asked, where: string): void {
  if (!echoed) return;
  const at = ids_T.findIndex((id, t) => id !== echoed[t]);
  if (at < 0 && echoed.length === ids_T.length) return;
  const place = at < 0 ? ids_T.length : at;
  invalid(where, `the prompt came back changed at position ${place} (sent ${String(ids_T[place])}, echoed ${String(echoed[place])}); something tokenises it anew`);
}

const TOKEN_NAME = /^token_id:(0|[1-9]\d*)$/;
const TOKEN_KEY = /^(0|[1-9]\d*)$/;

function tokenName(id: number): string {
  return `token_id:${id}`;
}

/** `{"token_id:19": -0.02, …}` */
function namedEntries(sent: unknown, where: string): Entry[] {
  return fieldsOf(sent, where).map(([name, logProb]) => {
    const id = TOKEN_NAME.exec(name)?.[1];
    if (id === undefined) return invalid(where, `${name} is not the name of an id; names must be ids (return_tokens_as_token_ids)`);
    return { id: Number(id), logProb: finite(logProb, where) };
  });
}

/** `{"872": {"logprob": -0.9, …}, …}`. Order means nothing here: JavaScript sorts such keys. */
function keyedEntries(sent: unknown, where: string): Entry[] {
  return fieldsOf(sent, where).map(([key, value]) => {
    if (!TOKEN_KEY.test(key)) return invalid(where, `${key} is not an id`);
    if (typeof value !== 'object' || value === null || !('logprob' in value)) return invalid(where, `id ${key} has no logprob`);
    const rank = 'rank' in value && typeof value.rank === 'number' ? value.rank : undefined;
    return { id: Number(key), logProb: finite(value.logprob, where), rank };
  });
}

function fieldsOf(sent: unknown, where: string): [string, unknown][] {
  if (typeof sent !== 'object' || sent === null || Array.isArray(sent)) return invalid(where, 'it has no log-probs');
  return Object.entries(sent);
}

function finite(value: unknown, where: string): number {
  if (typeof value === 'number' && Number.isFinite(value)) return value;
  return invalid(where, `${String(value)} is not a log-prob`);
}

function invalid(where: string, what: string): never {
  throw new TeacherAnswerInvalid(`${where}: ${what}; nothing of the answer was used`);
}

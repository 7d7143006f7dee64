import { createHash } from 'node:crypto';
import type { Engine } from '../../src/engine/engine.js';
import type { Tokenizer } from '../../src/model-files/tokenizer.js';
import { TeacherClient, type TaughtSample, type TeacherCapabilities, type TeacherPrompt } from '../../src/teacher-clients/teacher-client.js';
import type { Sampling, TokenIds } from '../../src/tokens/sample.js';
import type { ScoreSequence, TargetBlock } from '../../src/tokens/target.js';

const PROBE = Int32Array.of(1, 2, 3, 4);

export interface EngineTeacherOptions {
  readonly engine: Engine;
  readonly tokenizer: Pick<Tokenizer, 'encode'>;
}

/** A teacher without a server: writes and scores through any engine, each answer a function of its request alone, and counts what it was asked. */
export class EngineTeacher extends TeacherClient {
  /** Ids of each prompt answered, with its seed, in the order asked. */
  readonly written: string[] = [];
  /** Ids of each sequence scored, in the order asked. */
  readonly scored: string[] = [];

  constructor(private readonly options: EngineTeacherOptions) {
    super();
  }

  async probe(k: number, signal?: AbortSignal): Promise<TeacherCapabilities> {
    const hash = createHash('sha256');
    hash.update((await only(this.options.engine.score({ sequences: [{ ids_T: PROBE, from: 1 }], k }, signal))).actualLogProbs_R);
    const { maxPositions } = await this.options.engine.describe();
    return { model: 'engine', maxLength: maxPositions, repeatable: true, fingerprint: hash.digest('hex') };
  }

  async tokenize(text: string): Promise<TokenIds | undefined> {
    return this.options.tokenizer.encode(text);
  }

  async *generate(prompts: readonly TeacherPrompt[], sampling: Sampling, k: number, signal?: AbortSignal): AsyncGenerator<TaughtSample> {
    for (const [index, { ids_T: prompt_T, seed }] of prompts.entries()) {
      this.written.push(`${seed}:${prompt_T.join(',')}`);
      const request = { prompts: [{ ids_T: prompt_T, sample: 0 }], sampling, key: { seed, stage: 0, step: 0 } };
      const { ids_T: completion_T, finish } = await only(this.options.engine.sample(request, signal));
      const sequences = [{ ids_T: Int32Array.of(...prompt_T, ...completion_T), from: prompt_T.length }];
      const targets = await only(this.options.engine.score({ sequences, k }, signal));
      yield { index, prompt_T, completion_T, finish, targets: { ...targets, index } };
    }
  }

  async *score(sequences: readonly ScoreSequence[], k: number, signal?: AbortSignal): AsyncGenerator<TargetBlock> {
    for (const { ids_T } of sequences) this.scored.push(ids_T.join(','));
    yield* this.options.engine.score({ sequences, k }, signal);
  }

  async close(): Promise<void> {}
}

/** The one answer of a stream, read to its end: an engine takes no second call before. */
async function only<Answer>(answers: AsyncIterable<Answer>): Promise<Answer> {
  const all: Answer[] = [];
  for await (const answer of answers) all.push(answer);
  return all[0];
}

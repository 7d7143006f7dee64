import { createHash } from 'node:crypto';
import type { Sample } from '../tokens/sample.js';
import type { TargetBlock } from '../tokens/target.js';
import type { RunIdentity } from './identity.js';
import { samplesHash } from './rollouts.js';
import { decodeShard, encodeShard, type ShardSample } from './shards.js';
import type { RunStore } from './store.js';

/** Whose replies the journal keeps, and where. */
export interface JournalOptions {
  readonly store: RunStore;
  readonly identity: RunIdentity;
  readonly k: number;
  readonly epoch: number;
}

/** The teacher's replies to align's rollouts, each kept before the step that uses it, so that a resumed run uses the same. */
export class Journal {
  constructor(private readonly options: JournalOptions) {}

  /** The reply kept for a step if it answers exactly these rollouts; of several attempts' the earliest, which is what was used. */
  async find(step: number, rollouts: readonly Sample[]): Promise<ShardSample[] | undefined> {
    const wanted = this.#requestHash(rollouts);
    for (const name of await this.#entries(step)) {
      const bytes = await this.options.store.read(name);
      const shard = bytes && decodeShard(bytes, name);
      if (shard?.manifest.request === wanted) return shard.samples;
    }
    return undefined;
  }

  /** Keeps a reply. @returns the samples as a later reading gives them, so that live and replayed steps see the same numbers. */
  async keep(step: number, rollouts: readonly Sample[], reply: { readonly blocks: readonly TargetBlock[]; readonly seconds: number }): Promise<ShardSample[]> {
    const { store, identity, k, epoch } = this.options;
    const samples = rollouts.map(({ prompt_T, completion_T, finish }, origin) => ({ origin, prompt_T, completion_T, finish, targets: reply.blocks[origin] }));
    const name = `${entryPrefix(step)}${String(epoch).padStart(6, '0')}.safetensors`;
    const bytes = encodeShard(samples, {
      format: 'limbeck-targets-1',
      teacher: identity.teacher,
      tokenizer: identity.tokenizer,
      template: identity.template,
      mode: 'plain',
      tau: '1',
      k: String(k),
      sampling: 'student rollouts',
      request: this.#requestHash(rollouts),
      empty: '0',
      seconds: reply.seconds.toFixed(3),
    });
    await store.write(name, bytes);
    return decodeShard(bytes, name).samples;
  }

  async #entries(step: number): Promise<string[]> {
    return this.options.store.list(entryPrefix(step));
  }

  #requestHash(rollouts: readonly Sample[]): string {
    const { identity, k } = this.options;
    return createHash('sha256').update(`${identity.teacher} ${k} ${samplesHash(rollouts)}`).digest('hex');
  }
}

function entryPrefix(step: number): string {
  return `journal/align-${String(step).padStart(6, '0')}.`;
}

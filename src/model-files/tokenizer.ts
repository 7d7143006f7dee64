import { join } from 'node:path';
import { Tokenizer as HubTokenizer } from '@huggingface/tokenizers';
import type { TokenIds } from '../tokens/sample.js';
import { TokenizerInvalid } from './errors.js';
import { codeKeyOf, readJsonObject, readOptionalJsonObject } from './json-file.js';
import { asHubReads, checkTokenizerJson } from './tokenizer-json.js';

/** The tokenizer of a model directory. Encoding adds nothing: a chat template writes its own special tokens. */
export class Tokenizer {
  /** One more than the highest id it makes; a model may have more rows. */
  readonly vocabSize: number;
  /** Content to id of every token added beside the vocabulary's own merges, special or not. */
  readonly addedTokens: ReadonlyMap<string, number>;

  private constructor(
    private readonly hub: HubTokenizer,
    added: readonly { id: number; content: string }[],
    private readonly skipIds: ReadonlySet<number>,
  ) {
    this.addedTokens = new Map(added.map(({ id, content }) => [content, id]));
    this.vocabSize = [...hub.get_vocab().values()].reduce((most, id) => Math.max(most, id), -1) + 1;
  }

  /** Reads tokenizer.json and, where there is one, tokenizer_config.json. @throws ModelFileMissing, ModelFileMalformed, TokenizerInvalid */
  static async load(dir: string): Promise<Tokenizer> {
    const path = join(dir, 'tokenizer.json');
    const json = checkTokenizerJson(await readJsonObject(path), path);
    const configPath = join(dir, 'tokenizer_config.json');
    const config = (await readOptionalJsonObject(configPath)) ?? {};
    const code = codeKeyOf(config);
    if (code !== undefined) throw new TokenizerInvalid(`${configPath}: ${code} asks for code of the tokenizer's own; Limbeck runs none. Remove the key if tokenizer.json says all`);
    let hub: HubTokenizer;
    try {
      hub = new HubTokenizer(asHubReads(json), config);
    } catch (cause) {
      throw new TokenizerInvalid(`${path} cannot be read: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
    }
    const skipIds = new Set(json.added_tokens.filter(({ special }) => special).map(({ id }) => id));
    return new Tokenizer(hub, json.added_tokens, skipIds);
  }

  /** @returns the text's ids; added tokens that stand in the text, special ones too, become their single id. Nothing is added. */
  encode(text: string): TokenIds {
    const { ids, tokens }: { ids: (number | undefined)[]; tokens: string[] } = this.hub.encode(text, { add_special_tokens: false });
    return Int32Array.from(ids, (id, at) => {
      if (id === undefined) throw new TokenizerInvalid(`the vocabulary has no id for ${JSON.stringify(tokens[at])}`);
      return id;
    });
  }

  /** @returns the text of the ids; bytes that are not UTF-8 become U+FFFD, ids it does not make are left out. `skip` leaves out special tokens. */
  decode(ids: TokenIds | readonly number[], { skipSpecial }: { skipSpecial: 'skip' | 'keep' }): string {
    const known = [...ids].filter((id) => this.hub.id_to_token(id) !== undefined && !(skipSpecial === 'skip' && this.skipIds.has(id)));
    return known.length === 0 ? '' : this.hub.decode(known, { skip_special_tokens: false, clean_up_tokenization_spaces: false });
  }

  /** The id of a token by its content, undefined when it has none. */
  idOf(token: string): number | undefined {
    return this.addedTokens.get(token) ?? this.hub.token_to_id(token);
  }
}

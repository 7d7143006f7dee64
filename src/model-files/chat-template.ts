import { join } from 'node:path';
import { Template } from '@huggingface/jinja';
import { ChatTemplateInvalid } from './errors.js';
import { isObject, readOptionalJsonObject, readOptionalText } from './json-file.js';

/** Bytes. */
const MAX_TEMPLATE_BYTES = 1_000_000;

/** One turn of a conversation. */
export interface ChatMessage {
  readonly role: 'system' | 'user' | 'assistant';
  readonly content: string;
}

/** The chat template of a model directory, rendered as Hugging Face transformers renders it (trimmed blocks, `raise_exception`, the special tokens). */
export class ChatTemplate {
  private constructor(
    private readonly template: Template,
    private readonly tokens: Readonly<Record<string, string>>,
    private readonly where: string,
  ) {}

  /** Reads chat_template.jinja, which wins, or `chat_template` of tokenizer_config.json. @throws ChatTemplateInvalid when there is none or it does not parse. */
  static async load(dir: string): Promise<ChatTemplate> {
    const config = (await readOptionalJsonObject(join(dir, 'tokenizer_config.json'))) ?? {};
    const file = join(dir, 'chat_template.jinja');
    const text = await readOptionalText(file, MAX_TEMPLATE_BYTES);
    const where = text === undefined ? join(dir, 'tokenizer_config.json') : file;
    const source = text ?? templateOf(config.chat_template);
    if (source === undefined) throw new ChatTemplateInvalid(`${dir} holds no chat template; add chat_template.jinja`);
    try {
      return new ChatTemplate(new Template(source), specialTokens(config), where);
    } catch (cause) {
      throw new ChatTemplateInvalid(`${where}: the chat template does not parse: ${messageOf(cause)}`, { cause });
    }
  }

  /** @returns the conversation as text; `add` opens the assistant's next turn. @throws ChatTemplateInvalid when the template refuses the messages. */
  render(messages: readonly ChatMessage[], { addGenerationPrompt }: { addGenerationPrompt: 'add' | 'omit' }): string {
    try {
      return this.template.render({ ...this.tokens, messages, add_generation_prompt: addGenerationPrompt === 'add' });
    } catch (cause) {
      throw new ChatTemplateInvalid(`${this.where}: the chat template refused these messages: ${messageOf(cause)}`, { cause });
    }
  }
}

/** A string, or a list of named templates of which `default` is the one for chats. */
function templateOf(value: unknown): string | undefined {
  if (typeof value === 'string') return value;
  if (!Array.isArray(value)) return undefined;
  const named: unknown = value.find((item: unknown) => isObject(item) && item.name === 'default');
  return isObject(named) && typeof named.template === 'string' ? named.template : undefined;
}

function specialTokens(config: Record<string, unknown>): Record<string, string> {
  const tokens: Record<string, string> = {};
  for (const name of ['bos_token', 'eos_token', 'unk_token', 'pad_token']) {
    const value = config[name];
    const content = isObject(value) ? value.content : value;
    if (typeof content === 'string') tokens[name] = content;
  }
  return tokens;
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}

import { basename, resolve } from 'node:path';
import { TeacherSettingsInvalid, type TeacherSettings } from '../config/teacher-settings.js';
import { ChatTemplate, type ChatMessage } from '../model-files/chat-template.js';
import { readModelConfig, type ModelConfig } from '../model-files/config.js';
import { Tokenizer } from '../model-files/tokenizer.js';
import { ModelNotServed } from './teacher-server.errors.js';

/** The positions a request may use unless the operator says otherwise: the ONNX runtime copies its cache too often for long contexts. */
const DEFAULT_MAX_LENGTH = { onnx: 1024, native: Infinity } as const;

/** The model as requests see it: its name, limits, tokenizer and template. */
export class ServedModel {
  private readonly texts: string[] = [];
  private template: Promise<ChatTemplate> | undefined;

  private constructor(
    private readonly settings: TeacherSettings,
    readonly config: ModelConfig,
    readonly tokenizer: Tokenizer,
  ) {}

  /** Reads the directory's configuration and tokenizer, not its weights. @throws the refusals of the model directory; TeacherSettingsInvalid */
  static async open(settings: TeacherSettings): Promise<ServedModel> {
    const config = await readModelConfig(settings.modelDir); // first: of a directory without a model, the configuration is what is missing
    const tokenizer = await Tokenizer.load(settings.modelDir);
    const { maxModelLen = 0 } = settings;
    if (maxModelLen > config.maxPositions) throw new TeacherSettingsInvalid(`maxModelLen is ${maxModelLen}; the model in ${settings.modelDir} has ${config.maxPositions} positions`);
    return new ServedModel(settings, config, tokenizer);
  }

  /** What requests give as `model`. */
  get name(): string {
    return this.settings.modelName ?? basename(resolve(this.settings.modelDir));
  }

  /** Longest sequence in tokens, prompt and completion together. */
  get maxLength(): number {
    return this.settings.maxModelLen ?? Math.min(DEFAULT_MAX_LENGTH[this.settings.runtime], this.config.maxPositions);
  }

  /** @throws ModelNotServed unless the request names this model or none. */
  checkName(model: string | null | undefined): void {
    if (model && model !== this.name) throw new ModelNotServed(model);
  }

  /** The chat as text, with the assistant's turn opened on `add`. @throws ChatTemplateInvalid also when the model has no template: it can be served without. */
  async renderChat(messages: readonly ChatMessage[], addGenerationPrompt: 'add' | 'omit'): Promise<string> {
    this.template ??= ChatTemplate.load(this.settings.modelDir);
    return (await this.template).render(messages, { addGenerationPrompt });
  }

  /** The text of one token alone, special tokens included. */
  textOf(id: number): string {
    return (this.texts[id] ??= this.tokenizer.decode(Int32Array.of(id), { skipSpecial: 'keep' }));
  }
}

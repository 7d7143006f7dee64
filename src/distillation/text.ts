import type { ChatTemplate } from '../model-files/chat-template.js';
import type { Tokenizer } from '../model-files/tokenizer.js';

/** What the core needs of a tokenizer. */
export type RunTokenizer = Pick<Tokenizer, 'encode' | 'decode' | 'vocabSize' | 'addedTokens'>;
/** What the core needs of a chat template. */
export type RunTemplate = Pick<ChatTemplate, 'render'>;

import { describe, expect, it } from 'vitest';
import type { RunTemplate, RunTokenizer } from './text.js';
import { parsePrompts, promptsHash, renderPrompts } from './prompts.js';

const LINE = '{"messages":[{"role":"user","content":"Hi"}],"answer":"Hello"}';

const tokenizer: RunTokenizer = {
  encode: (text) => Int32Array.from(text, (letter) => letter.charCodeAt(0)),
  decode: (ids) => String.fromCharCode(...ids),
  vocabSize: 256,
  addedTokens: new Map(),
};
const template: RunTemplate = {
  render: (messages, { addGenerationPrompt }) => messages.map(({ role, content }) => `${role[0]}${content}`).join('|') + (addGenerationPrompt === 'add' ? '>' : ''),
};
const plain = { plain: 1, think: 0, no_think: 0 };

describe('parsePrompts', () => {
  it('reads a prompt a line and skips blank lines', () => {
    expect(parsePrompts(`${LINE}\n\n{"messages":[{"role":"system","content":"s"},{"role":"user","content":"u"}],"mode":"plain"}\r\n`, 'p.jsonl')).toEqual([
      { messages: [{ role: 'user', content: 'Hi' }], answer: 'Hello' },
      { messages: [{ role: 'system', content: 's' }, { role: 'user', content: 'u' }], mode: 'plain' },
    ]);
  });

  it.each([
    ['', 'distillation.prompts_empty', /p\.jsonl holds no prompt/],
    ['\n \n', 'distillation.prompts_empty', /p\.jsonl/],
    [`${LINE}\n{"messages":`, 'distillation.prompts_malformed', /p\.jsonl:2 is not JSON/],
    [`\n${LINE}\n{"messages":[]}`, 'distillation.prompt_invalid', /p\.jsonl:3, messages/],
    ['{"messages":[{"role":"user","content":5}]}', 'distillation.prompt_invalid', /p\.jsonl:1, messages\.0\.content/],
    ['{"messages":[{"role":"assistant","content":"x"}]}', 'distillation.prompt_invalid', /last message must be the user's/],
    ['{"message":"x"}', 'distillation.prompt_invalid', /p\.jsonl:1/],
    ['[1]', 'distillation.prompt_invalid', /p\.jsonl:1, \(the line\)/],
  ])('refuses %j', (text, code, message) => {
    expect(() => parsePrompts(text, 'p.jsonl')).toThrow(message);
    expect(() => parsePrompts(text, 'p.jsonl')).toThrow(expect.objectContaining({ code }));
  });
});

describe('renderPrompts', () => {
  it('applies the template with the generation prompt and keeps the answer', () => {
    const [{ ids_T, answer }] = renderPrompts(parsePrompts(LINE, 'p'), { tokenizer, template, mix: plain });

    expect(String.fromCharCode(...ids_T)).toBe('uHi>');
    expect(answer).toBe('Hello');
  });

  it('refuses thinking modes, in the mix and in a line', () => {
    const thinking = parsePrompts('{"messages":[{"role":"user","content":"Hi"}],"mode":"think"}', 'p');

    expect(() => renderPrompts(thinking, { tokenizer, template, mix: plain })).toThrow(/prompt 1 asks for mode think/);
    expect(() => renderPrompts([], { tokenizer, template, mix: { ...plain, no_think: 1 } })).toThrow(expect.objectContaining({ code: 'distillation.mode_unavailable' }));
  });
});

describe('promptsHash', () => {
  it('changes with ids, answers and order', () => {
    const [a, b] = [{ ids_T: Int32Array.of(1, 2) }, { ids_T: Int32Array.of(3) }];

    expect(new Set([promptsHash([a, b]), promptsHash([b, a]), promptsHash([{ ...a, answer: 'x' }, b])]).size).toBe(3);
    expect(promptsHash([a, b])).toBe(promptsHash([{ ...a }, { ...b }]));
  });
});

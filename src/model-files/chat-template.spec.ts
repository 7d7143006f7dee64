import { readFileSync, writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { useScratchDir } from '../../test/support/scratch-dir.js';
import { ChatTemplate, type ChatMessage } from './chat-template.js';

/** From Hugging Face transformers; test/golden/tokenizer/make_tokenizer_golden.py makes them. */
const GOLDEN: { templates: Record<string, string>; rendered: { template: string; messages: ChatMessage[]; add: boolean; text: string }[] } = JSON.parse(
  readFileSync(new URL('../../test/golden/tokenizer/tokenizer-golden.json', import.meta.url), 'utf8'),
);
const HELLO: ChatMessage[] = [{ role: 'user', content: 'hello' }];

describe('ChatTemplate', () => {
  const scratch = useScratchDir();
  const writeConfig = (config: object) => writeFileSync(scratch('tokenizer_config.json'), JSON.stringify(config));
  const render = async (messages = HELLO) => (await ChatTemplate.load(scratch())).render(messages, { addGenerationPrompt: 'omit' });

  it.each(GOLDEN.rendered)('renders as transformers does: $template, $messages.length messages, add $add', async ({ template, messages, add, text }) => {
    writeConfig({ bos_token: '<|im_start|>', eos_token: '<|im_end|>' });
    writeFileSync(scratch('chat_template.jinja'), GOLDEN.templates[template]);
    const loaded = await ChatTemplate.load(scratch());
    expect(loaded.render(messages, { addGenerationPrompt: add ? 'add' : 'omit' })).toBe(text);
  });

  it('takes chat_template.jinja over tokenizer_config.json', async () => {
    writeConfig({ chat_template: 'config' });
    expect(await render()).toBe('config');
    writeFileSync(scratch('chat_template.jinja'), 'file');
    expect(await render()).toBe('file');
  });

  it('takes the template named default of a list', async () => {
    writeConfig({ chat_template: [{ name: 'tool_use', template: 'tools' }, { name: 'default', template: 'chat' }] });
    expect(await render()).toBe('chat');
  });

  it('gives the special tokens, also those described by an object', async () => {
    writeConfig({ bos_token: { content: '<s>', lstrip: false }, eos_token: '</s>', chat_template: '{{ bos_token }}{{ messages[0].content }}{{ eos_token }}' });
    expect(await render()).toBe('<s>hello</s>');
  });

  it("carries the template's own refusal", async () => {
    writeConfig({ chat_template: "{% if messages[0].role != 'system' %}{{ raise_exception('a system turn must come first') }}{% endif %}ok" });
    await expect(render()).rejects.toMatchObject({ code: 'model_files.chat_template_invalid', message: expect.stringContaining('a system turn must come first') });
    expect(await render([{ role: 'system', content: 's' }])).toBe('ok');
  });

  it('refuses a template that does not parse, and a directory without one', async () => {
    writeConfig({ chat_template: '{% for x in %}' });
    await expect(render()).rejects.toMatchObject({ code: 'model_files.chat_template_invalid', message: expect.stringContaining('does not parse') });
    writeConfig({});
    await expect(render()).rejects.toMatchObject({ code: 'model_files.chat_template_invalid', message: expect.stringContaining('holds no chat template') });
  });
});

import { describe, expect, it } from 'vitest';
import { demoPrompts, promptLines } from './prompts.js';

describe('the demo prompts', () => {
  const { train, heldOut } = demoPrompts();

  it('are 256 for training and 48 held out, all different', () => {
    const texts = [...train, ...heldOut].map((prompt) => prompt.messages[0].content);
    expect([train.length, heldOut.length, new Set(texts).size]).toEqual([256, 48, 304]);
  });

  it('ask one user turn each, a line each', () => {
    const lines = promptLines(heldOut).trimEnd().split('\n');
    expect(lines).toHaveLength(48);
    expect(JSON.parse(lines[0])).toEqual({ messages: [{ role: 'user', content: heldOut[0].messages[0].content }] });
  });

  it('say an eagle, not a eagle', () => {
    const texts = [...train, ...heldOut].map((prompt) => prompt.messages[0].content);
    expect(texts.filter((text) => /\ba [aeiou]/.test(text) || /\ban [^aeiou]/.test(text))).toEqual([]);
    expect(texts).toContain('What does an eagle eat? Answer in one short sentence.');
  });

  it('start with the hammer and are the same every time', () => {
    expect(train[0].messages[0].content).toBe('In one short sentence, what is a hammer used for?');
    expect(promptLines(demoPrompts().train)).toBe(promptLines(train));
  });
});

import { describe, expect, it } from 'vitest';
import { PromptLines } from './prompt-lines.js';
import { LinesInvalid } from './prompt-sets.errors.js';

const LINE = '{"messages":[{"role":"user","content":"Grüße"}]}';

function check(text: string | Uint8Array, size: number, maxLineBytes = 1000): number {
  const lines = new PromptLines(maxLineBytes);
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; at += size) lines.push(bytes.subarray(at, at + size));
  return lines.end();
}

function refusal(text: string | Uint8Array, size = 1000, maxLineBytes = 1000): LinesInvalid {
  try {
    check(text, size, maxLineBytes);
  } catch (error) {
    if (error instanceof LinesInvalid) return error;
  }
  throw new Error('the lines were taken');
}

describe('PromptLines', () => {
  it.each([1, 3, 49, 1000])('counts prompts in pieces of %i bytes, blank lines and a last line without its end alike', (size) => {
    expect(check(`${LINE}\n\n  \r\n${LINE}\r\n${LINE}`, size)).toBe(3);
  });

  it.each([1, 7, 1000])('reports the same lines from pieces of %i bytes', (size) => {
    const { details, message } = refusal(`${LINE}\n{]\n\n{"messages":[]}\n${LINE.slice(0, -1)},"x":1}\n`, size);

    expect(details).toEqual({ lines: [
      { line: 2, message: expect.stringMatching(/^the line is not JSON/) },
      { line: 4, message: expect.stringMatching(/^the line, messages: /) },
      { line: 5, message: expect.stringMatching(/^the line, \(the line\): .*"x"/) },
    ] });
    expect(message).toMatch(/^3 lines are no prompt: line 2: /);
  });

  it('reports at most a hundred lines, each cut short, and counts them all', () => {
    const long = `{"${'x'.repeat(5000)}":1}\n`;

    const { details, message } = refusal(long.repeat(120), 1000, 10_000);

    expect(details.lines).toHaveLength(100);
    expect(Buffer.byteLength(JSON.stringify(details))).toBeLessThan(2 ** 20);
    expect(message).toMatch(/^120 lines are no prompt/);
  });

  it('holds no more of a line than it may have', () => {
    const lines = new PromptLines(100);
    for (let at = 0; at < 1000; at++) lines.push(Buffer.alloc(1000, 'x'));
    lines.push(Buffer.from(`\n${LINE}`));

    expect(() => lines.end()).toThrow(/^1 line is no prompt: line 1: has 1000000 bytes; at most 100 are allowed$/);
  });

  it('refuses bytes that are not UTF-8, a mark at the beginning, and a file without a prompt', () => {
    expect(refusal(Buffer.from([...Buffer.from(`${LINE}\n`), 0xc3, 0x28])).details.lines).toEqual([{ line: 2, message: 'is not valid UTF-8' }]);
    expect(refusal(`\ufeff${LINE}`).details.lines).toEqual([{ line: 1, message: expect.stringContaining('not JSON') }]);
    expect(() => check('\n \n', 10)).toThrow(expect.objectContaining({ code: 'files.upload_malformed' }));
  });
});

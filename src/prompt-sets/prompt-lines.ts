import { AppError } from '../common/errors.js';
import { parsePrompt } from '../distillation/prompts.js';
import { LinesInvalid, UploadMalformed, type BadLine } from './prompt-sets.errors.js';

const NEWLINE = 0x0a;
/** At most 100 lines are reported, each cut at so many characters: far below 1 MiB. */
const LINES_REPORTED = 100;
const MESSAGE_CHARACTERS = 500;

/** Checks a prompt file that arrives in pieces, by the rules that a run reads it with. Holds one line at a time. */
export class PromptLines {
  private readonly decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  private readonly bad: BadLine[] = [];
  private badCount = 0;
  private prompts = 0;
  private line = 1;
  private pieces: Uint8Array[] = [];
  private lineBytes = 0;

  constructor(private readonly maxLineBytes: number) {}

  push(bytes: Uint8Array): void {
    let begin = 0;
    for (let end = bytes.indexOf(NEWLINE); end !== -1; end = bytes.indexOf(NEWLINE, begin)) {
      this.hold(bytes.subarray(begin, end));
      this.endLine();
      begin = end + 1;
    }
    this.hold(bytes.subarray(begin));
  }

  /** Ends the file. @returns how many prompts it holds. @throws LinesInvalid, UploadMalformed when there is no prompt at all. */
  end(): number {
    this.endLine();
    if (this.badCount > 0) throw new LinesInvalid(this.badCount, this.bad);
    if (this.prompts === 0) {
      throw new UploadMalformed('the file holds no prompt; write one JSON object a line, such as {"messages":[{"role":"user","content":"…"}]}', { param: 'file' });
    }
    return this.prompts;
  }

  private hold(piece: Uint8Array): void {
    this.lineBytes += piece.length;
    if (this.lineBytes > this.maxLineBytes) this.pieces = [];
    else if (piece.length > 0) this.pieces.push(piece.slice());
  }

  private endLine(): void {
    const fault = this.lineBytes > this.maxLineBytes ? `has ${this.lineBytes} bytes; at most ${this.maxLineBytes} are allowed` : this.faultOf(Buffer.concat(this.pieces));
    if (fault !== undefined) this.report(fault);
    this.pieces = [];
    this.lineBytes = 0;
    this.line += 1;
  }

  private faultOf(bytes: Uint8Array): string | undefined {
    let raw: string;
    try {
      raw = this.decoder.decode(bytes);
    } catch {
      return 'is not valid UTF-8';
    }
    if (raw.trim() === '') return undefined;
    try {
      parsePrompt(raw, 'the line');
      this.prompts += 1;
      return undefined;
    } catch (cause) {
      if (cause instanceof AppError) return cause.message;
      throw cause;
    }
  }

  private report(fault: string): void {
    this.badCount += 1;
    if (this.bad.length < LINES_REPORTED) this.bad.push({ line: this.line, message: fault.slice(0, MESSAGE_CHARACTERS) });
  }
}

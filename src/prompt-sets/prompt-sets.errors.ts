import { AppError } from '../common/errors.js';

/** There is no file of this id. */
export class FileUnknown extends AppError {
  readonly code = 'files.unknown';
  readonly kind = 'missing';
  constructor(id: string, param: string | null = null) {
    super(`there is no file ${JSON.stringify(id)}; GET /v1/files lists those there are`, { param });
  }
}

/** A run names the file. */
export class FileInUse extends AppError {
  readonly code = 'files.in_use';
  readonly kind = 'conflict';
  constructor(id: string) {
    super(`file ${id} is used by a job; delete the job first`);
  }
}

/** More was sent than a prompt file may have. */
export class FileTooLarge extends AppError {
  readonly code = 'files.too_large';
  readonly kind = 'too_large';
  constructor(maxBytes: number) {
    super(`a prompt file has at most ${maxBytes} bytes here; split it, or ask the operator to raise LIMBECK_MAX_FILE_BYTES`, { param: 'file' });
  }
}

/** The request carries no file, or not as it should. */
export class UploadMalformed extends AppError {
  readonly code = 'files.upload_malformed';
  readonly kind = 'invalid';
}

/** A line that is no prompt. */
export interface BadLine {
  /** From 1. */
  readonly line: number;
  readonly message: string;
}

const LINES_IN_MESSAGE = 3;

/** Lines of a prompt file are not prompts. Nothing of the file was kept; the answer's `error.lines` are the first of them. */
export class LinesInvalid extends AppError {
  readonly code = 'files.invalid_lines';
  readonly kind = 'invalid';
  constructor(count: number, lines: readonly BadLine[]) {
    const first = lines.slice(0, LINES_IN_MESSAGE).map(({ line, message }) => `line ${line}: ${message}`);
    super(`${count} line${count === 1 ? ' is' : 's are'} no prompt: ${first.join('; ')}${count > first.length ? '; …' : ''}`, { param: 'file', details: { lines } });
  }
}

import type { OnModuleInit } from '@nestjs/common';
import type { Readable } from 'node:stream';
import { unbroken } from '../storage/incoming.js';
import type { CheckedUpload, PromptSetService } from './prompt-sets.service.js';
import type { PromptUploadService } from './prompt-upload.service.js';

const FILENAME_CHARACTERS = 255;

/** A part of a multipart body that carries a file, as multer describes it. */
export interface UploadedPart {
  readonly originalname: string;
  readonly stream: Readable;
}

type Done<Result> = (error: unknown, result?: Result) => void;

/** Where multer puts a file: into the store, checked on the way. What it answers joins the part that the handler is given. */
export class PromptUploadStorage implements OnModuleInit {
  constructor(
    private readonly uploads: PromptUploadService,
    private readonly promptSets: PromptSetService,
  ) {}

  onModuleInit(): Promise<void> {
    return this.uploads.removeStale();
  }

  _handleFile(_request: unknown, part: UploadedPart, done: Done<CheckedUpload>): void {
    this.uploads.receive(unbroken(part.stream), plainName(part.originalname)).then((upload) => done(null, upload), done);
  }

  _removeFile(_request: unknown, upload: CheckedUpload, done: Done<void>): void {
    this.promptSets.forget(upload).then(() => done(null), done);
  }
}

/** The name is only shown: it never becomes a path. */
function plainName(name: string): string {
  return name.replace(/[\u0000-\u001f\u007f]/g, '').slice(0, FILENAME_CHARACTERS) || 'file';
}

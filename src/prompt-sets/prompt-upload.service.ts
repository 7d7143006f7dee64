import { join } from 'node:path';
import { isIncoming, receive, removeStale } from '../storage/incoming.js';
import type { StoreSettings, UploadLimits } from '../storage/store-settings.js';
import { PromptLines } from './prompt-lines.js';
import { FileTooLarge } from './prompt-sets.errors.js';
import { FILES_FOLDER, type CheckedUpload } from './prompt-sets.service.js';

/** Takes prompt files in: streamed to the disk, each line checked on the way. */
export class PromptUploadService {
  constructor(
    private readonly store: StoreSettings,
    private readonly limits: Pick<UploadLimits, 'maxFileBytes' | 'maxLineBytes'>,
  ) {}

  /** Removes what earlier processes left half received. */
  removeStale(): Promise<void> {
    return removeStale(join(this.store.storeDir, FILES_FOLDER), isIncoming);
  }

  /** @throws FileTooLarge, LinesInvalid, UploadMalformed, DiskFull; nothing is then left on the disk. */
  async receive(source: AsyncIterable<Uint8Array>, filename: string): Promise<CheckedUpload> {
    const lines = new PromptLines(this.limits.maxLineBytes);
    let prompts = 0;
    const received = await receive(source, {
      dir: join(this.store.storeDir, FILES_FOLDER),
      maxBytes: this.limits.maxFileBytes,
      tooLarge: () => new FileTooLarge(this.limits.maxFileBytes),
      inspect: (piece) => lines.push(piece),
      finish: () => {
        prompts = lines.end();
      },
    });
    return { ...received, filename, prompts };
  }
}

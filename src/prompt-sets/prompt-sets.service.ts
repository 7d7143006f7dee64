import type { FileHandle } from 'node:fs/promises';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { newId } from '../common/ids.js';
import { Database, type Tx } from '../database/database.js';
import { isViolation } from '../database/violations.js';
import { settle, type Received } from '../storage/incoming.js';
import { openPlace, placeIn, resolvePlace } from '../storage/places.js';
import type { StoreSettings } from '../storage/store-settings.js';
import { FileInUse, FileUnknown } from './prompt-sets.errors.js';
import { PromptSetRepository, type FileRow } from './prompt-sets.repository.js';

/** Where prompt files lie below the store's directory; each is named by the digest of its bytes. */
export const FILES_FOLDER = 'files';

/** A received file whose every line was checked. */
export interface CheckedUpload extends Received {
  readonly filename: string;
  readonly prompts: number;
}

/** Prompt files: immutable lists of chat prompts. Needs nothing but the database and the store's directory. */
export class PromptSetService {
  private readonly files: PromptSetRepository;

  constructor(
    private readonly database: Database,
    private readonly store: StoreSettings,
  ) {
    this.files = new PromptSetRepository(database);
  }

  /** @param param names the field that gave the id, in the error. @throws FileUnknown */
  async get(id: string, param?: string): Promise<FileRow> {
    const row = await this.files.find(id);
    if (row === undefined) throw new FileUnknown(id, param);
    return row;
  }

  async exists(tx: Tx, id: string): Promise<boolean> {
    return (await this.files.find(id, tx)) !== undefined;
  }

  /** One row more than `limit` where there are more. @throws FileUnknown when there is no file `after`. */
  async list(query: { after?: string; limit: number; order: 'asc' | 'desc' }): Promise<FileRow[]> {
    if (query.after !== undefined) await this.get(query.after, 'after');
    return this.files.list(query);
  }

  /** Absolute path of the file's bytes, JSON lines. @throws FileUnknown, also when the bytes are gone; NameRefused */
  async path(id: string): Promise<string> {
    const { place } = await this.get(id);
    const path = await resolvePlace(this.store.storeDir, place);
    if (path === undefined) throw new FileUnknown(id);
    return path;
  }

  /** The file's bytes, open for reading; the caller closes them. @throws FileUnknown, NameRefused */
  async open(id: string): Promise<{ row: FileRow; file: FileHandle }> {
    const row = await this.get(id);
    const file = await openPlace(this.store.storeDir, row.place);
    if (file === undefined) throw new FileUnknown(id);
    return { row, file };
  }

  /** Gives a checked upload its place and a row, in the caller's transaction. Then `forget` the upload, whether that was committed or not. */
  async keep(tx: Tx, upload: CheckedUpload, purpose: string): Promise<FileRow> {
    const place = placeOf(upload);
    await this.files.lockPlace(tx, place);
    await settle(upload, placeIn(this.store.storeDir, place));
    const { filename, bytes, sha256, prompts } = upload;
    return this.files.insert(tx, { id: newId('file'), filename, purpose, bytes, sha256, prompts, place });
  }

  /** Removes what no row came to need of an upload, be it that it was not kept or that its transaction failed. */
  async forget(upload: CheckedUpload): Promise<void> {
    await rm(upload.path, { force: true });
    await this.dropUnused(placeOf(upload));
  }

  /** Removes a file; its bytes go with the last row that names them. @throws FileUnknown, FileInUse */
  async remove(id: string): Promise<void> {
    const place = await this.removeRow(id);
    if (place === undefined) throw new FileUnknown(id);
    await this.dropUnused(place);
  }

  private async removeRow(id: string): Promise<string | undefined> {
    try {
      return await this.database.transaction((tx) => this.files.remove(tx, id));
    } catch (error) {
      if (isViolation(error, 'foreign_key')) throw new FileInUse(id);
      throw error;
    }
  }

  private async dropUnused(place: string): Promise<void> {
    await this.database.transaction(async (tx) => {
      await this.files.lockPlace(tx, place);
      if (!(await this.files.isPlaceUsed(tx, place))) await rm(join(this.store.storeDir, place), { force: true });
    });
  }
}

function placeOf({ sha256 }: Received): string {
  return `${FILES_FOLDER}/${sha256}`;
}

import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { OnModuleInit } from '@nestjs/common';
import { syncPath } from '../common/durable.js';
import type { Tx } from '../database/database.js';
import { hasCode } from '../model-files/atomic.js';
import { receive, removeStale, settle } from '../storage/incoming.js';
import { placeIn } from '../storage/places.js';
import type { StoreSettings, UploadLimits } from '../storage/store-settings.js';
import { checkSha256 } from './checksum.js';
import { accountOf, type StudentFile } from './student-account.js';
import type { StudentInspection } from './student-inspection.js';
import { CommittedMeanwhile, ModelFileRefused, ModelFileTooLarge, ModelNameTaken, NothingStaged } from './students.errors.js';
import type { StudentRow } from './students.repository.js';
import { checkName, MODELS_FOLDER, newPlace, StudentService, type PlacedStudent } from './students.service.js';
import { GGUF_FILE, stagingFolder, uploadLimit } from './upload-rules.js';

/** Where files wait, beside the models, until they are committed. */
const STAGING_FOLDER = '.staging';

/** Where a model lies on its way: as it was sent, imported from GGUF, in its final place. */
interface Places {
  readonly taken: string;
  readonly imported: string;
  /** Below the store's directory. */
  readonly place: string;
}

/** Makes a prepared model's row in a transaction of the caller's. */
export type Publish = (tx: Tx) => Promise<StudentRow>;

/** Takes models in, file by file; none is to be seen before all of it is there and was opened once. */
export class StudentUploadService implements OnModuleInit {
  constructor(
    private readonly students: StudentService,
    private readonly inspection: StudentInspection,
    private readonly settings: StoreSettings & Pick<UploadLimits, 'maxModelFileBytes'>,
  ) {}

  /** Removes what was sent and not committed within a day, and directories that a process placed and died before it made their row. */
  async onModuleInit(): Promise<void> {
    const models = join(this.settings.storeDir, MODELS_FOLDER);
    await removeStale(join(models, STAGING_FOLDER), () => true);
    await removeStale(models, async (name) => name !== STAGING_FOLDER && !(await this.students.isPlaced(`${MODELS_FOLDER}/${name}`)));
  }

  /** Keeps one file until the model is committed; a file of the same name sent before is replaced. @throws AppError; nothing is then left of it. */
  async stage({ name, file, sha256 }: { name: string; file: string; sha256?: string }, source: AsyncIterable<Uint8Array>): Promise<StudentFile> {
    checkName(name);
    const maxBytes = uploadLimit(file, this.settings.maxModelFileBytes);
    await this.refuseTaken(name);
    const dir = this.staging(stagingFolder(name));
    const received = await receive(source, { dir, maxBytes, tooLarge: () => new ModelFileTooLarge(file, maxBytes) });
    try {
      checkSha256(sha256, received.sha256);
      await settle(received, join(dir, file));
    } catch (cause) {
      await rm(received.path, { force: true });
      throw hasCode(cause, 'ENOENT') ? new CommittedMeanwhile(name) : cause;
    }
    return { name: file, bytes: received.bytes, sha256: received.sha256 };
  }

  /**
   * Makes the files sent for `name` a model: opens all of them, then lets `work` publish it in a transaction. What cannot be published is thrown by
   * `publish`, so that `work` can still answer a repeated request. @throws AppError; the files then wait on, to be mended.
   */
  async commit<Answer>({ name, base }: { name: string; base: string | null }, work: (publish: Publish) => Promise<Answer>): Promise<Answer> {
    const place = newPlace();
    const taken = this.staging(basename(place));
    const imported = `${taken}.import`;
    try {
      const prepared = await settled(this.prepare(name, { taken, imported, place }));
      return await work(async (tx) => {
        if ('reason' in prepared) throw prepared.reason;
        return this.students.adopt(tx, { name, base, runId: null, student: prepared.value });
      });
    } finally {
      await this.tidy(name, { taken, imported, place });
    }
  }

  /** Takes what was sent out of reach, opens it and moves it to its place. */
  private async prepare(name: string, { taken, imported, place }: Places): Promise<PlacedStudent> {
    checkName(name);
    await this.refuseTaken(name);
    await this.takeStaged(name, taken);
    const isGguf = await holdsGguf(taken);
    const dir = isGguf ? imported : taken;
    const nature = await this.inspection.run({ dir, ...(isGguf && { gguf: join(taken, GGUF_FILE) }) });
    const student = { ...nature, place, files: await accountOf(dir) };
    const target = placeIn(this.settings.storeDir, place);
    await syncPath(dir);
    await rename(dir, target);
    await syncPath(dirname(target));
    return student;
  }

  private async refuseTaken(name: string): Promise<void> {
    if (await this.students.isTaken(name)) throw new ModelNameTaken(name);
  }

  private async takeStaged(name: string, taken: string): Promise<void> {
    try {
      await rename(this.staging(stagingFolder(name)), taken);
    } catch (cause) {
      throw hasCode(cause, 'ENOENT') ? new NothingStaged(name) : cause;
    }
    for (const unfinished of (await readdir(taken)).filter((file) => file.startsWith('.'))) await rm(join(taken, unfinished));
  }

  /** After a success removes what is no longer needed; otherwise puts back what was sent, beneath what was sent anew meanwhile. */
  private async tidy(name: string, { taken, imported, place }: Places): Promise<void> {
    if (!(await this.students.isPlaced(place))) {
      const target = placeIn(this.settings.storeDir, place);
      await this.putBack((await namesIn(taken)).length > 0 ? taken : target, name);
      await rm(target, { recursive: true, force: true });
    }
    for (const dir of [taken, imported]) await rm(dir, { recursive: true, force: true });
  }

  private async putBack(from: string, name: string): Promise<void> {
    const files = await namesIn(from);
    if (files.length === 0) return;
    const dir = this.staging(stagingFolder(name));
    await mkdir(dir, { recursive: true });
    const newer = new Set(await readdir(dir));
    for (const file of files.filter((each) => !newer.has(each))) await rename(join(from, file), join(dir, file));
  }

  private staging(folder: string): string {
    return join(this.settings.storeDir, MODELS_FOLDER, STAGING_FOLDER, folder);
  }
}

async function settled<Value>(work: Promise<Value>): Promise<{ value: Value } | { reason: unknown }> {
  return work.then(
    (value) => ({ value }),
    (reason: unknown) => ({ reason }),
  );
}

/** Whether a GGUF file was sent, which is a whole model. @throws ModelFileRefused when other files were sent beside it. */
async function holdsGguf(taken: string): Promise<boolean> {
  const files = await namesIn(taken);
  if (!files.includes(GGUF_FILE)) return false;
  const others = files.filter((file) => file !== GGUF_FILE);
  if (others.length === 0) return true;
  throw new ModelFileRefused(`${GGUF_FILE} is a whole model; beside it ${others.join(', ')} cannot stand. Send the one, or the others, under another name`);
}

async function namesIn(dir: string): Promise<string[]> {
  return readdir(dir).catch(() => []);
}

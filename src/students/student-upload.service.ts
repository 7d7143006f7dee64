import { readdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { OnModuleInit } from '@nestjs/common';
import { syncPath } from '../common/durable.js';
import type { Tx } from '../database/database.js';
import { hasCode } from '../model-files/atomic.js';
import { receive, removeStale, settle } from '../storage/incoming.js';
import { placeIn } from '../storage/places.js';
import type { StoreSettings, UploadLimits } from '../storage/store-settings.js';
import { checkSha256 } from './checksum.js';
import { linkDirectory } from './link-directory.js';
import { accountOf, type StudentFile } from './student-account.js';
import type { StudentInspection } from './student-inspection.js';
import { CommittedMeanwhile, ModelFileRefused, ModelFileTooLarge, ModelNameTaken, NothingStaged } from './students.errors.js';
import type { StudentRow } from './students.repository.js';
import { checkName, MODELS_FOLDER, newPlace, StudentService, type PlacedStudent } from './students.service.js';
import { GGUF_FILE, stagingFolder, uploadLimit } from './upload-rules.js';

/** Where files wait, beside the models, until they are committed. */
const STAGING_FOLDER = '.staging';

/** Where a model lies on its way: second names of what was sent, imported from GGUF, in its final place. */
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
   * `publish`, so that `work` can still answer a repeated request. The files wait where they are until the model is there: whoever is killed in between takes
   * none of them along, and any other process can be asked again. @throws AppError; the files then wait on, to be mended.
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

  /** Opens what was sent, out of reach of what is sent anew meanwhile, and moves it to its place. */
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
      await linkDirectory(this.staging(stagingFolder(name)), taken);
    } catch (cause) {
      throw hasCode(cause, 'ENOENT') ? new NothingStaged(name) : cause;
    }
  }

  /** Removes what is no longer needed: of a model that is there what was sent, which nobody can commit any more, of another what was made of it. */
  private async tidy(name: string, { taken, imported, place }: Places): Promise<void> {
    if (!(await this.students.isPlaced(place))) await rm(placeIn(this.settings.storeDir, place), { recursive: true, force: true });
    const sent = (await this.students.isTaken(name)) ? [this.staging(stagingFolder(name))] : [];
    for (const dir of [taken, imported, ...sent]) await rm(dir, { recursive: true, force: true });
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
  const files = await readdir(taken);
  if (!files.includes(GGUF_FILE)) return false;
  const others = files.filter((file) => file !== GGUF_FILE);
  if (others.length === 0) return true;
  throw new ModelFileRefused(`${GGUF_FILE} is a whole model; beside it ${others.join(', ')} cannot stand. Send the one, or the others, under another name`);
}

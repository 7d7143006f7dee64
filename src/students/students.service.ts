import { rm } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { asModelName, isModelName, LONGEST_MODEL_NAME, MODEL_NAME_RULE } from '../common/model-name.js';
import { newId } from '../common/ids.js';
import { Database, type Tx } from '../database/database.js';
import { isViolation } from '../database/violations.js';
import { openPlace, placeIn, resolvePlace } from '../storage/places.js';
import type { StoreSettings } from '../storage/store-settings.js';
import { accountOf, type StudentFile } from './student-account.js';
import { openStudent, type StudentNature } from './student-directory.js';
import { linkDirectory } from './link-directory.js';
import { ModelFileUnknown, ModelInUse, ModelNameInvalid, ModelNameTaken, ModelUnknown } from './students.errors.js';
import { StudentRepository, type StudentRow } from './students.repository.js';

/** Where models lie below the store's directory; each directory is named by an id of its own. */
export const MODELS_FOLDER = 'models';

const NAMES_TRIED = 1000;

/** A whole model in its final place that no row names yet. */
export interface PlacedStudent extends StudentNature {
  readonly place: string;
  readonly files: readonly StudentFile[];
}

/** Students and exports: immutable model directories known by a name. Needs nothing but the database and the store's directory. */
export class StudentService {
  private readonly students: StudentRepository;

  constructor(
    private readonly database: Database,
    private readonly store: StoreSettings,
  ) {
    this.students = new StudentRepository(database);
  }

  /** @param param names the field that gave the name, in the error. @throws ModelUnknown */
  async get(name: string, param?: string): Promise<StudentRow> {
    const row = await this.students.find(name);
    if (row === undefined) throw new ModelUnknown(name, param);
    return row;
  }

  async exists(tx: Tx, name: string): Promise<boolean> {
    return (await this.students.find(name, tx)) !== undefined;
  }

  /** Whether a row names this directory. */
  isPlaced(place: string): Promise<boolean> {
    return this.students.isPlaced(place);
  }

  async isTaken(name: string): Promise<boolean> {
    return (await this.students.find(name)) !== undefined;
  }

  /** Newest first; one row more than `limit` where there are more. @throws ModelUnknown when there is no model `after`. */
  async list(query: { after?: string; limit: number }): Promise<StudentRow[]> {
    if (query.after !== undefined) await this.get(query.after, 'after');
    return this.students.list(query);
  }

  /** Absolute path of the model's directory. @throws ModelUnknown, also when the directory is gone; NameRefused */
  async directory(name: string): Promise<string> {
    const { place } = await this.get(name);
    const dir = await resolvePlace(this.store.storeDir, place);
    if (dir === undefined) throw new ModelUnknown(name);
    return dir;
  }

  /** One of the model's files, open for reading; the caller closes it. @throws ModelUnknown, ModelFileUnknown, NameRefused */
  async openFile(name: string, fileName: string): Promise<{ file: FileHandle; bytes: number }> {
    const { place, files } = await this.get(name);
    const known = files.find((each) => each.name === fileName);
    const file = known && (await openPlace(this.store.storeDir, `${place}/${known.name}`));
    if (known === undefined || file === undefined) throw new ModelFileUnknown(name, fileName);
    return { file, bytes: known.bytes };
  }

  /**
   * Gives a finished directory of a run a place among the models, sharing its bytes, so that the model outlives the run's files. Reads every byte:
   * do it before the transaction that adopts it. @param dir absolute. @throws ModelRefused
   */
  async place(dir: string): Promise<PlacedStudent> {
    const nature = await openStudent(dir);
    const place = newPlace();
    const target = placeIn(this.store.storeDir, place);
    await linkDirectory(dir, target);
    return { ...nature, place, files: await accountOf(target) };
  }

  /** Makes a placed directory the model `name`, in the caller's transaction. Where that fails, `discard` it. @throws ModelNameInvalid, ModelNameTaken */
  async adopt(tx: Tx, { name, base, runId, student }: { name: string; base: string | null; runId: string | null; student: PlacedStudent }): Promise<StudentRow> {
    checkName(name);
    const { place, files, architecture, parameters } = student;
    const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
    const source = runId === null ? 'uploaded' : 'distilled';
    const row = await this.students.insert(tx, { name, source, base, run_id: runId, architecture, parameters, bytes, files, place });
    if (row === undefined) throw new ModelNameTaken(name);
    return row;
  }

  /** Removes a placed directory that no row came to name. */
  async discard({ place }: PlacedStudent): Promise<void> {
    await rm(placeIn(this.store.storeDir, place), { recursive: true, force: true });
  }

  /** `wanted` in the letters a name may have, or where that is taken the first of `…-2`, `…-3` that is free. @throws ModelNameTaken after a thousand */
  async freeName(tx: Tx, wanted: string): Promise<string> {
    const first = asModelName(wanted);
    const candidates = Array.from({ length: NAMES_TRIED }, (_, index) => (index === 0 ? first : numbered(first, index + 1)));
    const taken = await this.students.taken(tx, candidates);
    const free = candidates.find((name) => !taken.has(name));
    if (free === undefined) throw new ModelNameTaken(wanted);
    return free;
  }

  /** Removes a model and its directory. @throws ModelUnknown, ModelInUse */
  async remove(name: string): Promise<void> {
    const place = await this.removeRow(name);
    if (place === undefined) throw new ModelUnknown(name);
    await rm(placeIn(this.store.storeDir, place), { recursive: true, force: true });
  }

  private async removeRow(name: string): Promise<string | undefined> {
    try {
      return await this.database.transaction((tx) => this.students.remove(tx, name));
    } catch (error) {
      if (isViolation(error, 'foreign_key')) throw new ModelInUse(name);
      throw error;
    }
  }
}

/** A place among the models that nothing has yet. */
export function newPlace(): string {
  return `${MODELS_FOLDER}/${newId('model')}`;
}

/** @throws ModelNameInvalid */
export function checkName(name: string): void {
  if (!isModelName(name)) throw new ModelNameInvalid(`${JSON.stringify(name.slice(0, 200))} is no name of a model; right are ${MODEL_NAME_RULE}`, { param: 'id' });
}

function numbered(wanted: string, number: number): string {
  const suffix = `-${number}`;
  return wanted.slice(0, LONGEST_MODEL_NAME - suffix.length) + suffix;
}

import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { sha256OfFile } from '../common/file-hash.js';
import { RunStore } from '../distillation/store.js';
import type { RunFile, StageFiles } from '../runs/stage-files.service.js';
import type { Claim } from '../runs/stage-ledger.service.js';
import { DirectoryStore } from '../storage/directory-store.js';
import { NameTaken } from '../storage/storage.errors.js';
import { FileDamaged } from './worker.errors.js';

/** The rows behind a store. */
export type FileRows = Pick<StageFiles, 'list' | 'commit' | 'forget'>;

/**
 * A run's files under a claim. A file counts once a row written under the current epoch names it: bytes go to a place of their own, whose
 * name carries stage and epoch, and the row follows behind the fence. So a worker that was taken over can neither replace a file nor a row.
 * @throws FencedOut from every writer once the stage belongs to another.
 */
export class ServiceStore extends RunStore {
  private places = 0;

  private constructor(
    private readonly disk: DirectoryStore,
    private readonly files: FileRows,
    private readonly claim: Claim,
    private readonly rows: Map<string, RunFile>,
  ) {
    super();
  }

  /** Sweeps what earlier claims of the stage wrote and no row names. @param dir the run's directory; made when the first file is written. */
  static async open(dir: string, files: FileRows, claim: Claim): Promise<ServiceStore> {
    const rows = await files.list(claim);
    const store = new ServiceStore(new DirectoryStore(dir), files, claim, new Map(rows.map((row) => [row.name, row])));
    const earlier = new RegExp(`\\.${claim.stage}-(\\d+)-\\d+$`);
    await store.sweep('', (place) => Number(earlier.exec(place)?.[1] ?? Infinity) < claim.epoch); // a late worker must not take what its successor writes
    return store;
  }

  /** @throws FileDamaged when the bytes are not those that were committed. */
  async read(name: string): Promise<Uint8Array | undefined> {
    const row = this.rows.get(name);
    if (!row) return undefined;
    const bytes = (await this.disk.read(row.place))?.subarray(0, row.sha256 === null ? row.bytes : undefined);
    if (!bytes || bytes.length !== row.bytes || (row.sha256 !== null && sha256Of(bytes) !== row.sha256)) throw new FileDamaged(name);
    return bytes;
  }

  /** @throws FileDamaged as `read`. */
  async sha256(name: string): Promise<string | undefined> {
    const row = this.rows.get(name);
    if (!row) return undefined;
    const found = await this.disk.sha256(row.place);
    if (found !== row.sha256) throw new FileDamaged(name);
    return found;
  }

  async write(name: string, bytes: Uint8Array): Promise<void> {
    const place = this.newPlace(name);
    await this.disk.write(place, bytes);
    await this.commit([{ name, place, bytes: bytes.length, sha256: sha256Of(bytes) }]);
  }

  /** A file that grows has a place of this epoch's own, and counts as long as its row says: what a late writer adds is never read. */
  async append(name: string, bytes: Uint8Array): Promise<void> {
    const row = this.rows.get(name);
    const place = row && (await this.mayGrow(row)) ? row.place : await this.copyToGrow(name);
    await this.disk.append(place, bytes);
    await this.commit([{ name, place, bytes: (row?.bytes ?? 0) + bytes.length, sha256: null }]);
  }

  async list(prefix: string): Promise<string[]> {
    return [...this.rows.keys()].filter((name) => name.startsWith(prefix)).sort((a, b) => (a < b ? -1 : 1));
  }

  async remove(name: string): Promise<void> {
    const gone = this.under(name);
    await this.files.forget(this.claim, name);
    for (const row of gone) this.rows.delete(row.name);
    for (const { place } of gone) await this.disk.remove(place);
    await this.disk.remove(name); // a directory that was never published, such as a checkpoint
  }

  async publish(from: string, to: string): Promise<void> {
    if (this.under(to).length > 0) throw new NameTaken(`${to} exists already; remove it or choose another place`);
    const place = this.newPlace(to);
    await this.disk.publish(from, place);
    const files = (await this.disk.list(`${place}/`)).map((file) => this.describe(file, to + file.slice(place.length)));
    await this.commit(await Promise.all(files));
  }

  /** Of places, whatever `isLeftover` says of those that a row names: they stay. */
  async sweep(folder: string, isLeftover: Parameters<RunStore['sweep']>[1]): Promise<void> {
    const places = [...this.rows.values()].map(({ place }) => place);
    const isNamed = (at: string): boolean => places.some((place) => place === at || place.startsWith(`${at}/`));
    await this.disk.sweep(folder, (place, state) => isLeftover(place, state) && (state === 'unwritten' || !isNamed(place)));
  }

  /** Of a committed directory, where its files lie; else the place of that name, for those that write directories themselves. */
  path(name: string): string {
    const [row] = this.under(name);
    if (!row) return this.disk.path(name);
    return this.disk.path(row.name === name ? row.place : row.place.slice(0, row.place.length - (row.name.length - name.length)));
  }

  /** Rows of a file, or of everything in a directory. */
  private under(name: string): RunFile[] {
    return [...this.rows.values()].filter((row) => row.name === name || row.name.startsWith(`${name}/`));
  }

  private newPlace(name: string): string {
    this.places++;
    return `${name}.${this.mark()}-${this.places}`;
  }

  private mark(): string {
    return `${this.claim.stage}-${this.claim.epoch}`;
  }

  /** Whether a file lies in this epoch's place and ends where its row says: after a failed write it may be longer. */
  private async mayGrow({ place, sha256, bytes }: RunFile): Promise<boolean> {
    return sha256 === null && place.includes(`.${this.mark()}-`) && (await stat(this.disk.path(place))).size === bytes;
  }

  private async copyToGrow(name: string): Promise<string> {
    const place = this.newPlace(name);
    const before = await this.read(name);
    if (before && before.length > 0) await this.disk.write(place, before);
    return place;
  }

  private async describe(place: string, name: string): Promise<RunFile> {
    const path = this.disk.path(place);
    return { name, place, bytes: (await stat(path)).size, sha256: await sha256OfFile(path) };
  }

  /** The rows first, then the bytes they replaced: in between, both are there. */
  private async commit(files: readonly RunFile[]): Promise<void> {
    const replaced = files.map(({ name }) => this.rows.get(name)?.place);
    await this.files.commit(this.claim, files);
    for (const file of files) this.rows.set(file.name, file);
    for (const [index, place] of replaced.entries()) {
      if (place !== undefined && place !== files[index].place) await this.disk.remove(place).catch(() => undefined); // a leftover costs room, nothing else
    }
  }
}

function sha256Of(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

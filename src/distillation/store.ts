/**
 * The only way the core touches files. Names are relative, `/`-separated, of `[A-Za-z0-9._-]` parts that do not begin with a dot;
 * anything else is refused before the disk is touched.
 */
export abstract class RunStore {
  /** The whole file, of at most 2 GiB, or undefined when there is none. */
  abstract read(name: string): Promise<Uint8Array | undefined>;
  /** The sha256 of a file of any size that was written or published whole, as hex digits, or undefined when there is none. */
  abstract sha256(name: string): Promise<string | undefined>;
  /** Replaces the file whole: after a crash it holds the old bytes or the new ones, never a mixture; durable on return. */
  abstract write(name: string, bytes: Uint8Array): Promise<void>;
  /** Adds bytes at the end, creating the file; durable on return. After a crash a part of them may be there, after a failure none. */
  abstract append(name: string, bytes: Uint8Array): Promise<void>;
  /** Names of all committed files whose name begins with `prefix`, ascending by code point. */
  abstract list(prefix: string): Promise<string[]>;
  /** Removes a file, or a directory with everything in it; nothing happens when there is none. */
  abstract remove(name: string): Promise<void>;
  /** Makes a finished directory appear under another name, which must be free, in one step. */
  abstract publish(from: string, to: string): Promise<void>;
  /** Removes what attempts that died left below a folder (`''`: anywhere). Asks of every file and directory; of one that was still being written by the name it was to get. */
  abstract sweep(folder: string, isLeftover: (name: string, state: 'written' | 'unwritten') => boolean): Promise<void>;
  /** Where the name lies on disk, for those that write whole directories themselves (engine checkpoints, exports). Its parent exists. */
  abstract path(name: string): string;
}

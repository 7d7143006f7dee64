import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';

/** A file below a directory, whatever it is named. */
export interface FoundFile {
  /** Relative to the directory, parts joined by /. */
  readonly path: string;
  readonly bytes: number;
}

/** Every file below a directory, by path, those still being written included; links are not followed. What goes away meanwhile is left out; none when there is no such directory. */
export async function filesBelow(dir: string): Promise<FoundFile[]> {
  const found: FoundFile[] = [];
  for (const entry of await readdir(dir, { withFileTypes: true }).catch(gone<never[]>([]))) {
    const path = join(dir, entry.name);
    if (entry.isDirectory()) found.push(...(await filesBelow(path)).map((file) => ({ ...file, path: `${entry.name}/${file.path}` })));
    else {
      const state = await lstat(path).catch(gone(undefined));
      if (state) found.push({ path: entry.name, bytes: state.size });
    }
  }
  return found.sort((a, b) => (a.path < b.path ? -1 : 1));
}

function gone<Instead>(instead: Instead): (cause: unknown) => Instead {
  return (cause) => {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return instead;
    throw cause;
  };
}

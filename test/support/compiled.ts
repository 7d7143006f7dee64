import { execFile } from 'node:child_process';
import { mkdir, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const root = join(import.meta.dirname, '..', '..');
const outDir = join(root, '.limbeck', 'test-build');
const stamp = join(outDir, '.stamp');

/**
 * The compiled form of a source file, for tests that start processes: child processes cannot run TypeScript. Compiles the whole tree, without checking
 * types, when any source is newer than the last time. @param source for example `src/main.engine.ts`. @returns an absolute path.
 */
export async function compiled(source: string): Promise<string> {
  const newest = Math.max(...(await Promise.all(['src', 'kernels/binding'].map((dir) => newestSource(join(root, dir))))));
  const built = await stat(stamp).then(({ mtimeMs }) => mtimeMs, () => 0);
  if (newest > built) await compile();
  return join(outDir, source.replace(/\.ts$/, '.js'));
}

// Built aside and swapped, so that a process which started from the last build keeps its files until then.
async function compile(): Promise<void> {
  const aside = `${outDir}.${process.pid}`;
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  await mkdir(aside, { recursive: true });
  await writeFile(join(aside, '.stamp'), ''); // before compiling, so that a source saved meanwhile counts as newer
  await promisify(execFile)(process.execPath, [tsc, '-p', join(root, 'tsconfig.build.json'), '--noCheck', '--outDir', aside]);
  await rm(outDir, { recursive: true, force: true });
  await rename(aside, outDir);
}

async function newestSource(dir: string): Promise<number> {
  const entries = await readdir(dir, { recursive: true, withFileTypes: true });
  const sources = entries.filter((entry) => entry.isFile() && entry.name.endsWith('.ts'));
  const times = await Promise.all(sources.map(async (entry) => (await stat(join(entry.parentPath, entry.name))).mtimeMs));
  return Math.max(0, ...times);
}

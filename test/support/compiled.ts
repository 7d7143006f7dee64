import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const root = join(import.meta.dirname, '..', '..');
const builds = join(root, '.limbeck', 'test-build');
const BUILDS_KEPT = 3;

/**
 * The compiled form of a source file, for tests that start processes: child processes cannot run TypeScript. Compiles the whole tree, without checking
 * types, when any source is newer than the last time. @param source for example `src/main.engine.ts`. @returns an absolute path.
 */
export async function compiled(source: string): Promise<string> {
  const newest = Math.max(...(await Promise.all(['src', 'kernels/binding', 'kernels/bench', 'migrations'].map((dir) => newestSource(join(root, dir))))));
  const outDir = join(builds, String(Math.round(newest)));
  if (!existsSync(outDir)) await compile(outDir);
  return join(outDir, source.replace(/\.ts$/, '.js'));
}

// Each state of the sources has a directory of its own, so that a process of another test run keeps the files it started from.
async function compile(outDir: string): Promise<void> {
  const aside = `${outDir}.${process.pid}`;
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  try {
    await promisify(execFile)(process.execPath, [tsc, '-p', join(root, 'tsconfig.build.json'), '--noCheck', '--outDir', aside]);
    await rename(aside, outDir);
  } catch (error) {
    await rm(aside, { recursive: true, force: true });
    if (!existsSync(outDir)) throw error; // else another test run was quicker
  }
  const old = (await readdir(builds)).filter((name) => /^\d+$/.test(name)).sort().slice(0, -BUILDS_KEPT);
  await Promise.all(old.map((name) => rm(join(builds, name), { recursive: true, force: true })));
}

async function newestSource(dir: string): Promise<number> {
  const entries = await readdir(dir, { recursive: true, withFileTypes: true });
  const sources = entries.filter((entry) => entry.isFile() && entry.name.endsWith('.ts'));
  const times = await Promise.all(sources.map(async (entry) => (await stat(join(entry.parentPath, entry.name))).mtimeMs));
  return Math.max(0, ...times);
}

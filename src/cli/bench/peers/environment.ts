import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { AppError } from '../../../common/errors.js';

/** A command that installs other people's software did not succeed; what it said stands above. */
export class PeersNotInstalled extends AppError {
  readonly code = 'bench.peers_not_installed';
  readonly kind = 'unavailable';
}

const LLAMA_VERSION = '3.22.1';
const LLAMA_PACKAGES = [`node-llama-cpp@${LLAMA_VERSION}`, `@node-llama-cpp/linux-x64@${LLAMA_VERSION}`];

/** Where the peers are installed. */
export interface PeerEnvironment {
  /** The interpreter that sees torch, transformers, TRL and gguf. */
  readonly python: string;
  /** The entry of node-llama-cpp, with its version. */
  readonly llama: { readonly module: string; readonly version: string };
  /** The path of one of our scripts beside this file's source. */
  script(name: string): string;
}

/**
 * Installs the pinned peers below `dir`, apart from everything of the product: a Python virtual environment and an npm project. What is there already stays.
 * @param say told before anything is downloaded. @throws PeersNotInstalled
 */
export async function installPeers(dir: string, say: (line: string) => void): Promise<PeerEnvironment> {
  const root = resolve(dir);
  const scripts = scriptFolder();
  const python = join(root, 'venv', 'bin', 'python');
  const requirements = join(scripts, 'requirements.txt');
  await onceFor(join(root, 'venv'), await readFile(requirements, 'utf8'), async () => {
    say(`peers: installing torch, transformers, TRL and gguf into ${join(root, 'venv')} (some minutes)`);
    await run(['python3', '-m', 'venv', join(root, 'venv')], root);
    await run([python, '-m', 'pip', 'install', '--quiet', '--prefer-binary', '-r', requirements], root);
  });
  const llama = join(root, 'llama');
  await onceFor(llama, LLAMA_PACKAGES.join(' '), async () => {
    say(`peers: installing llama.cpp (node-llama-cpp) into ${llama}`);
    await writeFile(join(llama, 'package.json'), '{ "private": true }\n');
    // Without scripts and options: the binaries for this platform lie in the second package, all others stay away.
    await run(['npm', 'install', '--ignore-scripts', '--omit=optional', '--no-audit', '--no-fund', '--silent', ...LLAMA_PACKAGES], llama);
  });
  return {
    python,
    llama: { module: join(llama, 'node_modules', 'node-llama-cpp', 'dist', 'index.js'), version: LLAMA_VERSION },
    script: (name) => join(scripts, name),
  };
}

// Begins anew whenever the last attempt did not finish or wanted something else.
async function onceFor(dir: string, wanted: string, install: () => Promise<void>): Promise<void> {
  const stamp = join(dir, '.installed');
  const hash = createHash('sha256').update(wanted).digest('hex');
  if (existsSync(stamp) && (await readFile(stamp, 'utf8')) === hash) return;
  await rm(dir, { recursive: true, force: true });
  await mkdir(dir, { recursive: true });
  await install();
  await writeFile(stamp, hash);
}

/** Runs a command to its end; what it prints goes to standard error. @throws PeersNotInstalled */
export async function run(command: readonly string[], cwd: string): Promise<void> {
  const status = await new Promise<string | number>((resolve) => {
    const child = spawn(command[0], command.slice(1), { cwd, stdio: ['ignore', process.stderr, process.stderr] });
    child.once('error', (error) => resolve(error.message));
    child.once('exit', (code, signal) => resolve(signal ?? code ?? 1));
  });
  if (status !== 0) throw new PeersNotInstalled(`\`${command.join(' ')}\` ended with ${status}`);
}

// The scripts are no TypeScript, so the build leaves them where they are.
function scriptFolder(): string {
  const relative = join('src', 'cli', 'bench', 'peers', 'scripts');
  const start = dirname(fileURLToPath(import.meta.url));
  for (let dir = start; dir !== dirname(dir); dir = dirname(dir)) {
    if (existsSync(join(dir, relative))) return join(dir, relative);
  }
  throw new PeersNotInstalled(`${relative} is in no folder above ${start}; run the comparison from a checkout`);
}

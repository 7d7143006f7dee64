import { spawn } from 'node:child_process';
import { EmbeddedServerFailed } from './embedded.errors.js';

/** Whom a server runs as. */
export interface ServerUser {
  readonly uid: number;
  readonly gid: number;
}

/** A program that ends by itself. */
export interface Program {
  readonly path: string;
  readonly args: readonly string[];
  /** Whom it runs as; undefined for this process's user. */
  readonly user: ServerUser | undefined;
  /** After this long it is killed. */
  readonly timeoutMs: number;
}

/** Runs it with a bare environment in `/`. @returns its exit status (null when it was killed) and everything it said. */
export function runProgram({ path, args, user, timeoutMs }: Program): Promise<{ status: number | null; output: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(path, args, { ...user, cwd: '/', env: { LC_ALL: 'C.UTF-8' }, stdio: ['ignore', 'pipe', 'pipe'], timeout: timeoutMs, killSignal: 'SIGKILL' });
    let output = '';
    const listen = (chunk: Buffer): void => void (output += chunk.toString('utf8'));
    child.stdout.on('data', listen);
    child.stderr.on('data', listen);
    child.once('error', (error) => reject(new EmbeddedServerFailed(`${path} could not be started: ${error.message}`, { cause: error })));
    // Not `close`: a server it leaves behind may hold the pipes open.
    child.once('exit', (status) => resolve({ status, output: output.trim() }));
  });
}

import { fork, type ChildProcess } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { EmbeddedServerFailed } from './embedded.errors.js';
import { commandLine, endProcess, until } from './processes.js';

/** A process of the service: how it is started and watched. */
export interface ProcessOptions {
  /** For people: `API`, `worker`. */
  readonly name: string;
  /** The compiled `main.*.js`: sends its parent a message once it listens, and ends when its parent does. */
  readonly entry: string;
  /** Its whole environment. */
  readonly environment: Readonly<Record<string, string>>;
  /** Answers 200 once the process serves. */
  readonly readyUrl: string;
  /** Everything it writes. */
  readonly logFile: string;
  readonly startMs: number;
  readonly stopMs: number;
  /** Before it is started again; doubles with each death that comes before it serves, up to 32 times this. */
  readonly restartMs: number;
  readonly onNotice: (line: string) => void;
}

const ASK_MS = 2_000;
const MOST_DOUBLINGS = 5;
const LOG_BYTES = 64 * 2 ** 20;

/** Keeps one process of the service alive until it is stopped. */
export class ServiceProcess {
  private child: ChildProcess | undefined;
  private gone: Promise<string> = Promise.resolve('');
  private listens = false;
  private life: Promise<void> | undefined;
  private readonly stopping = new AbortController();

  constructor(private readonly options: ProcessOptions) {}

  get pid(): number | undefined {
    return this.child?.pid;
  }

  /** Returns when it serves; from then on it is started again whenever it ends. @throws EmbeddedServerFailed with its last words when it does not come to serve. */
  async start(): Promise<void> {
    this.launch();
    await this.untilReady();
    this.life = this.keepAlive();
  }

  /** Asks it to end, and kills it when it has not after `stopMs`. */
  async stop(): Promise<void> {
    this.stopping.abort();
    const { child } = this;
    if (child?.pid !== undefined) {
      const killer = setTimeout(() => child.kill('SIGKILL'), this.options.stopMs);
      child.kill('SIGTERM');
      await this.gone;
      clearTimeout(killer);
    }
    await this.life;
  }

  private launch(): void {
    const { entry, environment, logFile } = this.options;
    const log = openLog(logFile);
    // A process group of its own: Ctrl-C is for the supervisor, which ends the others in order.
    const child = fork(entry, [], { execArgv: ['--enable-source-maps'], env: { ...environment }, stdio: ['ignore', log, log, 'ipc'], detached: true });
    closeSync(log);
    this.child = child;
    this.listens = false;
    child.once('message', () => (this.listens = true));
    this.gone = new Promise((resolve) => {
      child.once('exit', (code, signal) => resolve(signal ? `was killed by ${signal}` : `ended with status ${code}`));
      child.once('error', (error) => resolve(`could not be started: ${error.message}`));
    });
  }

  private async untilReady(): Promise<void> {
    const { name, startMs, logFile, readyUrl } = this.options;
    let end: string | undefined;
    void this.gone.then((how) => (end = how));
    // Its own word first: another program may answer at that address.
    const came = await until(async () => end !== undefined || (this.listens && (await answersOk(readyUrl))), startMs);
    if (end === undefined && came) return;
    this.child?.kill('SIGKILL');
    throw new EmbeddedServerFailed(`the ${name} ${end ?? `did not answer at ${readyUrl} within ${startMs} ms`}; its last words in ${logFile}:\n${lastWords(logFile)}`);
  }

  private async keepAlive(): Promise<void> {
    const { name, restartMs, onNotice } = this.options;
    let failures = 0;
    for (;;) {
      const how = await this.gone;
      if (this.stopping.signal.aborted) return;
      const pauseMs = restartMs * 2 ** Math.min(failures, MOST_DOUBLINGS);
      onNotice(`the ${name} ${how}; it is started again in ${pauseMs} ms`);
      await delay(pauseMs, undefined, { signal: this.stopping.signal }).catch(() => undefined);
      if (this.stopping.signal.aborted) return;
      this.launch();
      failures = await this.untilReady().then(
        () => 0,
        () => failures + 1, // told by the next round
      );
    }
  }
}

/** Ends a process of the service that a killed supervisor left. */
export async function endLeftover(pid: number, entry: string, stopMs: number): Promise<void> {
  await endProcess(pid, () => commandLine(pid)?.includes(entry) ?? false, stopMs);
}

async function answersOk(url: string): Promise<boolean> {
  try {
    return (await fetch(url, { signal: AbortSignal.timeout(ASK_MS) })).ok;
  } catch {
    return false;
  }
}

// One file of the past is kept, so that a service that runs for years does not fill the disk between two starts of a process.
function openLog(path: string): number {
  if (existsSync(path) && statSync(path).size > LOG_BYTES) {
    rmSync(`${path}.1`, { force: true });
    renameSync(path, `${path}.1`);
  }
  return openSync(path, 'a', 0o600);
}

function lastWords(log: string): string {
  return readFileSync(log, 'utf8').trimEnd().split('\n').slice(-10).join('\n');
}

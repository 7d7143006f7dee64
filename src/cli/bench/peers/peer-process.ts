import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { z } from 'zod';
import { AppError } from '../../../common/errors.js';
import type { Contestant, Outcome } from './contest.js';
import { highWaterBytes } from './high-water.js';

/** The peer's process said that a run failed, spoke out of turn or ended; says its last words. */
export class PeerFailed extends AppError {
  readonly code = 'bench.peer_failed';
  readonly kind = 'unavailable';
}

/** How to start a peer. */
export interface PeerCommand {
  /** Program and arguments. */
  readonly command: readonly string[];
  /** Variables on top of this process's own. */
  readonly variables: Readonly<Record<string, string>>;
}

const line = z.union([
  z.strictObject({ ready: z.string() }),
  z.strictObject({ ok: z.object({ lossNats: z.number().optional() }) }),
  z.strictObject({ error: z.string() }),
]);
type Line = z.infer<typeof line>;

const LAST_WORDS = 2000;
const CLOSE_MS = 5_000;

/**
 * A peer in a process of its own, over a line protocol: it says `{"ready": name and versions}` once it is open; each line that it then reads asks for one run, which it
 * answers by `{"ok": {"lossNats"?: number}}` or `{"error": text}`; it ends when its standard input does. What it writes on standard error is shown only when it fails.
 */
export class PeerProcess implements Contestant {
  private readonly lines: AsyncIterator<string>;
  private readonly ended: Promise<string>;
  private lastWords = '';
  private nameSaid = '';

  private constructor(private readonly child: ChildProcessByStdio<Writable, Readable, Readable>) {
    this.lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    this.ended = new Promise((resolve) => {
      child.once('error', (error) => resolve(`could not be started: ${error.message}`));
      child.once('close', (code, signal) => resolve(`ended with ${signal ?? `status ${code}`}`));
    });
    child.stderr.on('data', (bytes: Buffer) => (this.lastWords = (this.lastWords + bytes.toString()).slice(-LAST_WORDS)));
    child.stdin.on('error', () => {}); // the end of the process says why
  }

  /** Starts the peer and waits until it is ready, however long it loads. @throws PeerFailed */
  static async start({ command, variables }: PeerCommand): Promise<PeerProcess> {
    // `env` becomes the peer, so that the process id is the peer's.
    const settings = Object.entries(variables).map(([name, value]) => `${name}=${value}`);
    const peer = new PeerProcess(spawn('env', [...settings, ...command], { stdio: ['pipe', 'pipe', 'pipe'] }));
    try {
      const answer = await peer.nextLine();
      if (!('ready' in answer)) throw new PeerFailed(`a peer began with ${JSON.stringify(answer)}; it must say that it is ready`);
      peer.nameSaid = answer.ready;
      return peer;
    } catch (error) {
      await peer.close();
      throw error;
    }
  }

  /** What the peer calls itself, with versions. */
  get name(): string {
    return this.nameSaid;
  }

  async run(): Promise<Outcome> {
    this.child.stdin.write('\n');
    const answer = await this.nextLine();
    if (!('ok' in answer)) throw new PeerFailed(`${this.nameSaid} answered a run with ${JSON.stringify(answer)}`);
    return answer.ok;
  }

  freeze(): void {
    this.child.kill('SIGSTOP');
  }

  thaw(): void {
    this.child.kill('SIGCONT');
  }

  peakBytes(): number {
    return this.child.pid === undefined ? 0 : highWaterBytes(this.child.pid);
  }

  async close(): Promise<void> {
    this.thaw();
    this.child.stdin.end();
    const killer = setTimeout(() => this.child.kill('SIGKILL'), CLOSE_MS);
    await this.ended;
    clearTimeout(killer);
  }

  private async nextLine(): Promise<Line> {
    const next = await this.lines.next();
    if (next.done === true) throw new PeerFailed(`${this.nameSaid === '' ? 'a peer' : this.nameSaid} ${await this.ended}; its last words:\n${this.lastWords}`);
    const parsed = line.safeParse(asJson(next.value));
    if (!parsed.success) throw new PeerFailed(`a peer said ${JSON.stringify(next.value.slice(0, 200))}, which is no line of its protocol`);
    if ('error' in parsed.data) throw new PeerFailed(`${this.nameSaid === '' ? 'a peer' : this.nameSaid} failed: ${parsed.data.error}; its last words:\n${this.lastWords}`);
    return parsed.data;
  }
}

function asJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

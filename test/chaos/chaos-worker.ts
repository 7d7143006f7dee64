import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { engineChildren, isAlive } from '../support/limbeck-process.js';

/** A worker process and the engines it started. */
export class ChaosWorker {
  private constructor(
    /** Of its node. */
    readonly name: string,
    private readonly child: ChildProcess,
    private readonly probePort: number,
  ) {}

  static async start(name: string, entry: string, environment: Readonly<Record<string, string>>): Promise<ChaosWorker> {
    const child = fork(entry, [], { env: { ...environment }, stdio: ['ignore', 'ignore', 'inherit', 'ipc'], execArgv: ['--enable-source-maps'] });
    const [said] = (await Promise.race([once(child, 'message'), once(child, 'exit')])) as [{ readonly probePort: number } | number | null];
    if (typeof said !== 'object' || said === null) throw new Error(`the worker ended with status ${said} before it served`);
    return new ChaosWorker(name, child, said.probePort);
  }

  get pid(): number {
    return this.child.pid!;
  }

  get isAlive(): boolean {
    return isAlive(this.pid);
  }

  /** Engines that run now. */
  engines(): Promise<number[]> {
    return engineChildren(this.pid);
  }

  signal(name: NodeJS.Signals): void {
    this.child.kill(name);
  }

  /** Kills worker and engines at the same moment. */
  async killAll(): Promise<void> {
    const engines = await this.engines();
    for (const pid of [this.pid, ...engines]) killIfThere(pid);
    await this.ended();
  }

  /** Kills the worker alone. */
  async kill(): Promise<void> {
    this.child.kill('SIGKILL');
    await this.ended();
  }

  /** @returns its exit status; null when a signal ended it. */
  async ended(): Promise<number | null> {
    if (this.child.exitCode === null && this.child.signalCode === null) await once(this.child, 'exit');
    return this.child.exitCode;
  }

  /** Whether it takes no more stages. */
  async isDraining(): Promise<boolean> {
    const { parts } = (await (await fetch(`http://127.0.0.1:${this.probePort}/health/ready`)).json()) as { readonly parts: { readonly process: string } };
    return parts.process === 'draining';
  }

  /** Writes of this process that the fence refused. */
  async fencedWrites(): Promise<number> {
    const text = await (await fetch(`http://127.0.0.1:${this.probePort}/metrics`)).text();
    return Number(/^limbeck_fenced_writes_total (\d+)$/m.exec(text)?.[1]);
  }
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // it ended by itself
  }
}

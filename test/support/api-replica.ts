import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { serviceEnvironment, type ApiSettingsInput } from '../../src/config/service-settings.js';
import { freePort } from '../../src/embedded/free-port.js';
import { compiled } from './compiled.js';

/** One API of several, as a process of its own at an address that stays its own; killed without warning and started again. */
export class ApiReplica {
  private child: ChildProcess | undefined;

  private constructor(
    private readonly settings: ApiSettingsInput,
    readonly port: number,
    private readonly nodeOptions: readonly string[],
  ) {}

  /** Starts it; returns when it serves. */
  static async start(settings: ApiSettingsInput, nodeOptions: readonly string[] = []): Promise<ApiReplica> {
    const replica = new ApiReplica(settings, await freePort(), nodeOptions);
    await replica.restart();
    return replica;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Its process; there must be one. */
  get process(): ChildProcess {
    if (!this.child) throw new Error('the API was killed and not started again');
    return this.child;
  }

  async restart(): Promise<void> {
    const environment = { PATH: process.env.PATH, ...serviceEnvironment({ ...this.settings, port: this.port }) };
    const child = fork(await compiled('src/main.api.ts'), [], { env: environment, stdio: ['ignore', 'ignore', 'inherit', 'ipc'], execArgv: [...this.nodeOptions] });
    this.child = child;
    const ended = once(child, 'exit').then(([status]) => {
      throw new Error(`the API ended with ${status} instead of serving`);
    });
    await Promise.race([once(child, 'message'), ended]);
    ended.catch(() => undefined); // it may end from now on
  }

  /** Kills it with SIGKILL; returns when it is gone. */
  async kill(): Promise<void> {
    const { child } = this;
    this.child = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, 'exit');
    child.kill('SIGKILL');
    await gone;
  }
}

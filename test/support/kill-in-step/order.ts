import { existsSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** A call in whose middle worker and engine die. */
export type StepCall = 'sample' | 'forwardBackward' | 'optimStep';

/** Kills inside steps: whichever engine of the processes started with `environment` receives the ordered call next dies with its worker. */
export class StepKiller {
  private readonly file: string;

  /** @param dir for its order file. */
  constructor(dir: string) {
    this.file = join(dir, 'kill-in-step');
  }

  get environment(): Readonly<Record<string, string>> {
    return { KILL_IN_STEP: this.file, NODE_OPTIONS: `--import ${join(import.meta.dirname, 'inject.mjs')}` };
  }

  order(method: StepCall): void {
    rmSync(`${this.file}.done`, { force: true });
    writeFileSync(`${this.file}.aside`, JSON.stringify({ method }));
    renameSync(`${this.file}.aside`, this.file);
  }

  /** Takes an order back that was not carried out. */
  withdraw(): void {
    rmSync(this.file, { force: true });
  }

  /** When the order was carried out, Unix milliseconds; undefined before. */
  get struckAt(): number | undefined {
    const done = `${this.file}.done`;
    return existsSync(done) ? statSync(done).ctimeMs : undefined;
  }
}

import { isDiskFull } from '../common/errors.js';
import type { StepMetrics } from './events.js';
import type { RunStore } from './store.js';

const FILE = 'metrics.jsonl';

/** `metrics.jsonl`: a record for each step, in the order in which they were taken. */
export class MetricsLog {
  /** Records that a full disk keeps back. */
  #unwritten = '';

  constructor(private readonly store: RunStore) {}

  /** Adds a record. It is durable on return, or, where the disk is full, after a `flush` that finds room. */
  async add(metrics: StepMetrics): Promise<void> {
    this.#unwritten += `${JSON.stringify(metrics)}\n`;
    try {
      await this.flush();
    } catch (error) {
      if (!isDiskFull(error)) throw error;
    }
  }

  /** Every record added so far is durable on return. */
  async flush(): Promise<void> {
    if (this.#unwritten === '') return;
    await this.store.append(FILE, Buffer.from(this.#unwritten));
    this.#unwritten = '';
  }

  /** Forgets a stage's records from a step on, which will be taken again, and a last line that a crash cut off. */
  async rewind(stage: StepMetrics['stage'], firstStep: number): Promise<void> {
    const bytes = await this.store.read(FILE);
    if (bytes === undefined) return;
    const lines = Buffer.from(bytes).toString('utf8').split('\n').slice(0, -1);
    const kept = lines.filter((line) => stays(line, stage, firstStep));
    await this.store.write(FILE, Buffer.from(kept.map((line) => `${line}\n`).join('')));
  }
}

function stays(line: string, stage: StepMetrics['stage'], firstStep: number): boolean {
  const [, name, step] = /^\{"stage":"(distill|align)","step":(\d+),/.exec(line) ?? [];
  return name !== undefined && (name !== stage || Number(step) < firstStep);
}

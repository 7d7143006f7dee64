import type { StepMetrics } from './events.js';
import type { RunStore } from './store.js';

const FILE = 'metrics.jsonl';

/** `metrics.jsonl`: a record for each step, in the order in which they were taken. */
export class MetricsLog {
  constructor(private readonly store: RunStore) {}

  /** Adds a record; it is durable on return. */
  async add(metrics: StepMetrics): Promise<void> {
    await this.store.append(FILE, Buffer.from(`${JSON.stringify(metrics)}\n`));
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

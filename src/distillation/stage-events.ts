import { rateOf } from './events.js';
import type { RunContext } from './context.js';
import type { Stage } from './stage-order.js';

/** What a stage, or a part of it, is called when it tells of itself. */
export interface StageName {
  readonly stage: Stage;
  readonly label: string;
}

type Told = Pick<RunContext, 'onEvent' | 'clock'>;

/** Tells of a stage's beginning and end around its work. */
export async function runStage<Result>({ onEvent, clock }: Told, name: StageName, work: () => Promise<Result>): Promise<Result> {
  onEvent({ kind: 'stage_started', ...name });
  const began = clock();
  const result = await work();
  onEvent({ kind: 'stage_finished', ...name, seconds: (clock() - began) / 1000 });
  return result;
}

/** A listener that tells of a stage's progress. */
export function countProgress({ clock, onEvent }: Told, name: StageName, { total, unit }: { total: number; unit: string }): (done: number) => void {
  const began = clock();
  return (done) => onEvent({ kind: 'progress', ...name, done, total, unit, rate: rateOf(done, (clock() - began) / 1000) });
}

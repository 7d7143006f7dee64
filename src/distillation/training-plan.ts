import type { Collected } from './collect.js';
import { planDistill, usableSamples } from './distill-loop.js';
import { NoSamples } from './distillation.errors.js';
import type { Ground } from './ground.js';
import type { PlannedStep } from './plan.js';
import type { ShardSample } from './shards.js';

/** What `distill` trains on. */
export interface TrainingPlan {
  readonly samples: readonly ShardSample[];
  readonly steps: readonly PlannedStep[];
}

/** The answers that distill's loss can use, and how many it cannot. @throws NoSamples when there is none. */
export function usableTraining({ plan }: Pick<Ground, 'plan'>, { samples }: Collected): { usable: ShardSample[]; truncatedDropped: number } {
  const { usable, truncatedDropped } = usableSamples(samples, plan.distill.loss);
  if (usable.length === 0) throw new NoSamples(`all ${truncatedDropped} answers were cut off by collect.max_tokens, and the loss hard drops such; raise it or choose forward_kl`);
  return { usable, truncatedDropped };
}

/** Decides what `distill` trains on. @throws NoSamples */
export function planTraining(ground: Pick<Ground, 'plan' | 'seed'>, collected: Collected): TrainingPlan {
  const { usable } = usableTraining(ground, collected);
  return { samples: usable, steps: planDistill(usable, { distill: ground.plan.distill, seed: ground.seed }) };
}

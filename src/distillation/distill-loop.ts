import type { Engine } from '../engine/engine.js';
import type { Clock } from './context.js';
import type { LoopDesk } from './loop-desk.js';
import type { TargetedSample } from './packing.js';
import { planSteps, type PlannedStep } from './plan.js';
import { learningRateAt } from './schedules.js';
import type { DistillationSpec } from './spec.js';
import { stepMetrics } from './step-metrics.js';
import { trainStep } from './train-step.js';

/** The samples a loss can use, and how many it could not: an answer cut off by the length limit has no end to teach by hard labels. */
export function usableSamples<S extends TargetedSample>(samples: readonly S[], loss: DistillationSpec['distill']['loss']): { usable: S[]; truncatedDropped: number } {
  const usable = loss.kind === 'hard' ? samples.filter(({ finish }) => finish === 'stop') : [...samples];
  return { usable, truncatedDropped: samples.length - usable.length };
}

/** The steps of `distill`: `epochs` passes over the samples. */
export function planDistill(samples: readonly TargetedSample[], { distill, seed }: { distill: DistillationSpec['distill']; seed: number }): PlannedStep[] {
  const lossTokens_I = samples.map(({ completion_T }) => completion_T.length);
  const pass = lossTokens_I.reduce((sum, tokens) => sum + tokens, 0);
  return planSteps({ lossTokens_I, budget: pass * distill.epochs, perStep: distill.loss_tokens_per_step, seed });
}

/** What the stage `distill` works with. */
export interface DistillJob {
  readonly engine: Engine;
  readonly desk: LoopDesk;
  readonly clock: Clock;
  readonly samples: readonly TargetedSample[];
  readonly plan: readonly PlannedStep[];
  readonly spec: DistillationSpec;
}

/** Off-policy: the student learns the teacher's distributions on the teacher's own text. @throws Aborted after a checkpoint of what was finished. */
export async function distill({ engine, desk, clock, samples, plan, spec }: DistillJob, signal?: AbortSignal): Promise<void> {
  const { distill: stage, optimizer } = spec;
  await desk.attend(plan.length, async () => {
    for (let step = desk.firstStep; step <= plan.length; step++) {
      const began = clock();
      const planned = plan[step - 1];
      const learningRate = learningRateAt(step, { peak: stage.learning_rate, steps: plan.length, ...optimizer });
      const trained = await trainStep(
        engine,
        {
          samples: planned.samples.map((index) => samples[index]),
          lossTokens: planned.lossTokens,
          loss: stage.loss,
          optim: optimStep(optimizer, learningRate),
          microBatchTokens: spec.micro_batch_tokens,
          recompute: spec.recompute,
        },
        signal,
      );
      const seconds = (clock() - began) / 1000;
      const metrics = stepMetrics(trained, { stage: 'distill', step, steps: plan.length, learningRate, seconds });
      await desk.finishStep(metrics, { seconds, tokens: trained.tokens, teacher_calls: 0 });
    }
  });
}

/** The optimiser's settings at one learning rate. */
export function optimStep({ beta1, beta2, eps, weight_decay, clip }: DistillationSpec['optimizer'], learningRate: number) {
  return { learningRate, beta1, beta2, eps, weightDecay: weight_decay, clip };
}

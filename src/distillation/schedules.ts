import type { OptimizerSpec } from './spec.js';

/**
 * The learning rate of a step. It climbs in equal steps over the first `ceil(warmup x steps)`, the last of which takes the peak, then
 * falls towards 0, which it would reach one step after the last, so that no step is wasted.
 * @param step 1-based, at most `steps`.
 */
export function learningRateAt(step: number, { peak, steps, schedule, warmup }: { peak: number; steps: number } & Pick<OptimizerSpec, 'schedule' | 'warmup'>): number {
  const climbing = Math.ceil(warmup * steps);
  if (step <= climbing) return (peak * step) / climbing;
  const passed = (step - climbing) / (steps - climbing + 1);
  switch (schedule) {
    case 'constant':
      return peak;
    case 'linear':
      return peak * (1 - passed);
    case 'cosine':
      return peak * 0.5 * (1 + Math.cos(Math.PI * passed));
  }
}

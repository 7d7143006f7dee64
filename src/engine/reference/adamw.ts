import type { OptimStep } from '../engine.js';
import type { ParameterMatrices } from './decoder.js';

/** First and second moments of each parameter's gradient, and the steps taken. */
export interface Moments {
  readonly first: ReadonlyMap<string, Float64Array>;
  readonly second: ReadonlyMap<string, Float64Array>;
  readonly step: number;
}

/** Moments before the first step. */
export function zeroMoments(parameters: ParameterMatrices): Moments {
  const zeros = (): Map<string, Float64Array> => new Map([...parameters].map(([name, { values }]) => [name, new Float64Array(values.length)]));
  return { first: zeros(), second: zeros(), step: 0 };
}

/** The L2 norm of the whole gradient. */
export function gradientNorm(parameters: ParameterMatrices): number {
  let squares = 0;
  for (const { gradient } of parameters.values()) squares += gradient.reduce((sum, g) => sum + g * g, 0);
  return Math.sqrt(squares);
}

/**
 * One AdamW step in place (Loshchilov & Hutter 2019): g is the gradient times min(1, clip / norm), and
 * w -= rate (mhat / (sqrt(vhat) + eps) + decay w), decay on every parameter. Gradients are left alone.
 * @returns the new moments, which share their arrays with the old ones.
 */
export function stepAdamW(parameters: ParameterMatrices, moments: Moments, how: OptimStep & { readonly gradNorm: number }): Moments {
  const step = moments.step + 1;
  const scale = how.gradNorm > how.clip ? how.clip / how.gradNorm : 1;
  const correction1 = 1 - how.beta1 ** step;
  const correction2 = 1 - how.beta2 ** step;
  for (const [name, { values, gradient }] of parameters) {
    const m = momentOf(moments.first, name);
    const v = momentOf(moments.second, name);
    for (let i = 0; i < values.length; i++) {
      const g = gradient[i] * scale;
      m[i] = how.beta1 * m[i] + (1 - how.beta1) * g;
      v[i] = how.beta2 * v[i] + (1 - how.beta2) * g * g;
      const direction = m[i] / correction1 / (Math.sqrt(v[i] / correction2) + how.eps);
      values[i] -= how.learningRate * (direction + how.weightDecay * values[i]);
    }
  }
  return { ...moments, step };
}

function momentOf(moments: ReadonlyMap<string, Float64Array>, name: string): Float64Array {
  const moment = moments.get(name);
  if (!moment) throw new Error(`the optimiser holds no moment of ${name}`);
  return moment;
}

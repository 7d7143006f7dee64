import { shuffledPasses, STREAMS } from './random.js';

/** What one optimiser step trains on. */
export interface PlannedStep {
  /** Indices of samples, in order. */
  readonly samples: readonly number[];
  /** Sum of their loss tokens: the step's weight, known before its first micro-batch. */
  readonly lossTokens: number;
}

/** What a training stage is to be cut into steps by. */
export interface PlanRequest {
  /** Loss tokens of each sample, each > 0. */
  readonly lossTokens_I: readonly number[];
  /** Loss tokens of the whole training; a pass over all samples is their sum. */
  readonly budget: number;
  /** Loss tokens a step should have. */
  readonly perStep: number;
  readonly seed: number;
}

/**
 * Cuts shuffled passes over the samples into steps of about equal weight. A sample belongs to the step that holds its middle token, so no
 * step is a small remainder; steps that no sample's middle falls into (a sample longer than `perStep`) are left out.
 * @returns the same plan for the same request.
 */
export function planSteps({ lossTokens_I, budget, perStep, seed }: PlanRequest): PlannedStep[] {
  const count = Math.max(1, Math.round(budget / perStep));
  const steps: { samples: number[]; lossTokens: number }[] = Array.from({ length: count }, () => ({ samples: [], lossTokens: 0 }));
  let passed = 0;
  for (const sample of shuffledPasses(lossTokens_I.length, { seed, stage: STREAMS.shuffle })) {
    const middle = passed + lossTokens_I[sample] / 2;
    if (middle >= budget) break;
    const step = steps[Math.min(count - 1, Math.floor((middle / budget) * count))];
    step.samples.push(sample);
    step.lossTokens += lossTokens_I[sample];
    passed += lossTokens_I[sample];
  }
  return steps.filter(({ samples }) => samples.length > 0);
}

/**
 * Cuts a list into runs of at most `most` tokens, in order; an item beyond it stands alone.
 * @param tokensOf tokens the engine reads for an item.
 */
export function cutMicroBatches<Item>(items: readonly Item[], tokensOf: (item: Item) => number, most: number): Item[][] {
  const batches: Item[][] = [];
  let held = Infinity;
  for (const item of items) {
    const tokens = tokensOf(item);
    if (held + tokens > most) {
      batches.push([]);
      held = 0;
    }
    batches[batches.length - 1].push(item);
    held += tokens;
  }
  return batches;
}

/** The prompts of an align step: entries `(step - 1) x perStep …` of the shuffled passes over all prompts. @param step 1-based. */
export function drawPrompts(step: number, { prompts, perStep, seed }: { prompts: number; perStep: number; seed: number }): number[] {
  const drawn: number[] = [];
  const first = (step - 1) * perStep;
  let entry = 0;
  for (const prompt of shuffledPasses(prompts, { seed, stage: STREAMS.alignDraw })) {
    if (entry >= first + perStep) break;
    if (entry >= first) drawn.push(prompt);
    entry++;
  }
  return drawn;
}

import type { Engine } from '../engine/engine.js';
import type { TeacherClient } from '../teacher-clients/teacher-client.js';
import type { Clock } from './context.js';
import { optimStep } from './distill-loop.js';
import type { StepMetrics } from './events.js';
import type { Journal } from './journal.js';
import type { LoopDesk } from './loop-desk.js';
import { drawPrompts } from './plan.js';
import type { RenderedPrompt } from './prompts.js';
import { STREAMS } from './random.js';
import { describeEndings, plainSampling, rollOut, scoreSamples, type Rollout } from './rollouts.js';
import { learningRateAt } from './schedules.js';
import type { ShardSample } from './shards.js';
import type { DistillationSpec } from './spec.js';
import { stepMetrics } from './step-metrics.js';
import { trainStep } from './train-step.js';

/** What the stage `align` works with. */
export interface AlignJob {
  readonly engine: Engine;
  /** Gives the teacher; called only for replies that the journal does not hold. */
  readonly meetTeacher: (signal?: AbortSignal) => Promise<TeacherClient>;
  readonly desk: LoopDesk;
  readonly journal: Journal;
  readonly clock: Clock;
  readonly prompts: readonly RenderedPrompt[];
  /** Every id that ends a completion. */
  readonly stopIds: readonly number[];
  readonly seed: number;
  readonly spec: DistillationSpec;
}

/**
 * On-policy: the student answers, the teacher scores the same ids, the student closes the gap; one optimiser step for each batch of
 * rollouts, all of the current weights. @throws Aborted after a checkpoint of what was finished.
 */
export async function align(job: AlignJob, signal?: AbortSignal): Promise<void> {
  const { engine, desk, clock, spec } = job;
  const { align: stage, optimizer } = spec;
  await desk.attend(stage.steps, async () => {
    for (let step = desk.firstStep; step <= stage.steps; step++) {
      const began = clock();
      const rollouts = await rollOutStep(job, step, signal);
      const taught = await teach(job, { step, rollouts }, signal);
      const learningRate = learningRateAt(step, { peak: stage.learning_rate, steps: stage.steps, ...optimizer });
      const trained = await trainStep(
        engine,
        {
          samples: taught.samples,
          lossTokens: taught.samples.reduce((sum, { completion_T }) => sum + completion_T.length, 0),
          loss: stage.loss,
          optim: optimStep(optimizer, learningRate),
          microBatchTokens: spec.micro_batch_tokens,
          recompute: spec.recompute,
        },
        signal,
      );
      const seconds = (clock() - began) / 1000;
      const metrics = stepMetrics(trained, { stage: 'align', step, steps: stage.steps, learningRate, seconds });
      const cost = { seconds, tokens: trained.tokens, teacher_calls: rollouts.length };
      await desk.finishStep({ ...metrics, ...rolloutMetrics(rollouts, trained.labelLogProbs_R), teacher_seconds: taught.seconds }, cost);
    }
  });
}

/** Draws the step's prompts and has the student answer them with its weights of now. */
async function rollOutStep({ engine, prompts, stopIds, seed, spec: { align: stage } }: AlignJob, step: number, signal?: AbortSignal): Promise<Rollout[]> {
  const drawn = drawPrompts(step, { prompts: prompts.length, perStep: stage.prompts_per_step, seed });
  const request = {
    prompts: drawn.map((index) => prompts[index].ids_T),
    sampling: plainSampling(stage.max_tokens, stopIds),
    key: { seed, stage: STREAMS.alignRollout, step },
  };
  return rollOut(engine, request, signal);
}

/** The teacher's scores of a step's rollouts: from the journal if they were asked for before, else asked and kept. */
async function teach(
  { meetTeacher, journal, clock, spec }: AlignJob,
  { step, rollouts }: { step: number; rollouts: readonly Rollout[] },
  signal?: AbortSignal,
): Promise<{ samples: readonly ShardSample[]; seconds: number }> {
  const kept = await journal.find(step, rollouts);
  if (kept) return { samples: kept, seconds: 0 };
  const teacher = await meetTeacher(signal);
  const began = clock();
  const blocks = await scoreSamples(teacher, { samples: rollouts, k: spec.targets.top_k }, signal);
  const seconds = (clock() - began) / 1000;
  return { samples: await journal.keep(step, rollouts, { blocks, seconds }), seconds };
}

function rolloutMetrics(rollouts: readonly Rollout[], labelLogProbs_R: Float64Array): Pick<StepMetrics, 'mean_length' | 'truncated_share' | 'loop_share' | 'rollout_gap'> {
  const { meanLength, truncatedShare, loopShare } = describeEndings(rollouts);
  const sampled = rollouts.flatMap(({ logProbs_T }) => Array.from(logProbs_T));
  const gap = sampled.reduce((sum, logProb, r) => sum + Math.abs(logProb - labelLogProbs_R[r]), 0) / sampled.length;
  return { mean_length: meanLength, truncated_share: truncatedShare, loop_share: loopShare, rollout_gap: gap };
}

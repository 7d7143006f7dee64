import type { Spec } from './spec.js';

/** The stages of a run, in order. */
export const STAGE_ORDER = ['validate', 'collect', 'distill', 'align', 'evaluate', 'export', 'controls'] as const;
/** The name of a stage. */
export type Stage = (typeof STAGE_ORDER)[number];
/** A stage that trains the student and leaves checkpoints. */
export type TrainingStage = Extract<Stage, 'distill' | 'align'>;

/** The stages of this run, in order. The last one writes the report. */
export function stagesOf({ method }: { readonly method: { readonly distillation: Pick<Spec['method']['distillation'], 'controls'> } }): readonly Stage[] {
  return STAGE_ORDER.filter((stage) => stage !== 'controls' || method.distillation.controls === 'all');
}

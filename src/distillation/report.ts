/** One evaluation, the JSON's field names. KLs in nats a token; `_low` and `_high` bound 95 % bootstrap intervals over prompts; shares in [0, 1]. */
export interface Evaluation {
  readonly prompts: number;
  /** Bucketed KL(teacher || student) on held-out text the teacher wrote. */
  readonly forward_kl_teacher_text: number;
  readonly forward_kl_teacher_text_low: number;
  readonly forward_kl_teacher_text_high: number;
  /** Mean over the tokens of own rollouts of log p_student - log p_teacher: unbiased for KL(student || teacher), so it may dip below 0. */
  readonly reverse_kl_own_rollouts: number;
  readonly reverse_kl_own_rollouts_low: number;
  readonly reverse_kl_own_rollouts_high: number;
  /** Share of teacher text positions where both have the same most probable id. */
  readonly top1_agreement: number;
  /** Tokens of a rollout, the stop id included. */
  readonly mean_length: number;
  /** Share of rollouts cut off by the length limit. */
  readonly truncated_share: number;
  /** Share of rollouts that loop (`loops.ts` says when). */
  readonly loop_share: number;
  /** Share of rollouts that ended with a stop id. */
  readonly eos_share: number;
  /** Bucketed KL(student || teacher) on own rollouts; absent where the model is no engine's. */
  readonly bucketed_reverse_kl_own_rollouts?: number;
  /** Mean entropy of the student on teacher text, nats. */
  readonly student_entropy?: number;
  /** Mean bucketed entropy of the teacher on its text, nats. */
  readonly teacher_entropy?: number;
  /** Mean student probability off the teacher's support, on teacher text. */
  readonly tail_mass?: number;
  /** Share of rollouts equal to the prompt's answer after normalising, over prompts that carry one. */
  readonly accuracy?: number;
}

/** A difference of two evaluations, paired over prompts; 95 %. */
export interface Difference {
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

/** What a stage cost, summed over all attempts that reached a commit. */
export interface StageAccount {
  readonly seconds: number;
  /** Tokens of prompts and completions gone through the stage. */
  readonly tokens: number;
  /** Prompts the teacher answered plus sequences it scored. */
  readonly teacher_calls: number;
}

/** `report.json`. */
export interface RunReport {
  readonly evaluation: {
    readonly teacher: Evaluation;
    readonly before: Evaluation;
    readonly after_distill: Evaluation;
    readonly after_align: Evaluation;
    readonly controls?: { readonly unigram: Evaluation; readonly hard: Evaluation };
  };
  /** Named `<stage>_<metric>`: after minus before the stage; negative is better. */
  readonly differences: {
    readonly distill_forward_kl: Difference;
    readonly distill_reverse_kl: Difference;
    readonly align_forward_kl: Difference;
    readonly align_reverse_kl: Difference;
  };
  readonly stages: Readonly<Record<'collect' | 'distill' | 'align' | 'evaluate' | 'export', StageAccount>>;
  /** What `collect` and `distill` kept and left out, in samples. */
  readonly samples: { readonly asked: number; readonly kept: number; readonly empty: number; readonly truncated: number; readonly truncated_dropped: number };
  /** Learning rate of the `hard` control that did best, where controls ran. */
  readonly hard_learning_rate?: number;
  readonly student_dir: string;
  /** Of the exported `model.safetensors`. */
  readonly student_sha256: string;
  /** Of the exported ONNX model in float32 and the engine: |difference| of log-probs in nats, positions where the most probable ids differ. */
  readonly onnx_agreement?: { readonly positions: number; readonly mean_abs: number; readonly max_abs: number; readonly greedy_differences: number };
}

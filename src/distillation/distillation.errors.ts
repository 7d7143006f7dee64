import { AppError } from '../common/errors.js';

/** One fault of a spec. */
export interface SpecIssue {
  /** Names joined by dots; empty for the whole spec. */
  readonly path: string;
  /** What was found and what would be right. */
  readonly message: string;
}

/** The spec is not what it should be; the message has one line for each fault. */
export class SpecInvalid extends AppError {
  readonly code = 'distillation.spec_invalid';
  readonly kind = 'invalid';
  constructor(readonly issues: readonly SpecIssue[]) {
    super(['the spec is invalid:', ...issues.map(({ path, message }) => `${path || '(top level)'}: ${message}`)].join('\n  '), { param: issues[0].path || null, details: { issues } });
  }
}

/** The prompt file holds no prompt. */
export class PromptsEmpty extends AppError {
  readonly code = 'distillation.prompts_empty';
  readonly kind = 'invalid';
}

/** A line of the prompt file is not JSON; says the line. */
export class PromptsMalformed extends AppError {
  readonly code = 'distillation.prompts_malformed';
  readonly kind = 'invalid';
}

/** A line of the prompt file is JSON of the wrong shape; says the line, the field and the right shape. */
export class PromptInvalid extends AppError {
  readonly code = 'distillation.prompt_invalid';
  readonly kind = 'invalid';
}

/** A thinking mode was asked of a model without the switch. */
export class ModeUnavailable extends AppError {
  readonly code = 'distillation.mode_unavailable';
  readonly kind = 'invalid';
}

/** A target shard cannot be written as asked, for example ids beyond 18 bits. */
export class ShardInvalid extends AppError {
  readonly code = 'distillation.shard_invalid';
  readonly kind = 'invalid';
}

/** A stored target shard is not what was written; says the file. Nothing of it was used. */
export class ShardDamaged extends AppError {
  readonly code = 'distillation.shard_damaged';
  readonly kind = 'invalid';
}

/** The out directory belongs to another run (spec, prompts, teacher, tokenizer or template differ); says which. */
export class ResumeMismatch extends AppError {
  readonly code = 'distillation.resume_mismatch';
  readonly kind = 'conflict';
}

/** A committed state file cannot be read back; says the file. */
export class StateDamaged extends AppError {
  readonly code = 'distillation.state_damaged';
  readonly kind = 'invalid';
}

/** A check before the run failed; carries the check's name, says what was found and what to do. Nothing was written. */
export class PreflightFailed extends AppError {
  readonly code = 'distillation.preflight_failed';
  readonly kind = 'invalid';
  constructor(readonly check: string, found: string, remedy: string) {
    super(`preflight check "${check}" failed: ${found}; ${remedy}`);
  }
}

/** A stage was asked for before the one it builds on was finished; says which. */
export class StageMissing extends AppError {
  readonly code = 'distillation.stage_missing';
  readonly kind = 'conflict';
}

/** A stage had committed checkpoints and none of them can be loaded; says what was wrong with the last. It is never begun anew in silence. */
export class NoValidCheckpoint extends AppError {
  readonly code = 'distillation.no_valid_checkpoint';
  readonly kind = 'conflict';
}

/** Nothing is left to train on or to evaluate; says which filter took how many. */
export class NoSamples extends AppError {
  readonly code = 'distillation.no_samples';
  readonly kind = 'invalid';
}

/** The exported ONNX model and the engine disagree beyond the agreement rule; carries the numbers. */
export class ExportDisagrees extends AppError {
  readonly code = 'distillation.export_disagrees';
  readonly kind = 'bug';
}

import { AppError } from '../common/errors.js';

/** A run was to go from one status to another that does not follow it. */
export class RunMoveForbidden extends AppError {
  readonly code = 'jobs.move_forbidden';
  readonly kind = 'conflict';
  constructor(from: string, to: string, allowed: readonly string[]) {
    super(`a job that is ${from} cannot become ${to}; ${nextOf(allowed)}`);
  }
}

/** A stage was to go from one status to another that does not follow it. */
export class StageMoveForbidden extends AppError {
  readonly code = 'jobs.stage_move_forbidden';
  readonly kind = 'conflict';
  constructor(from: string, to: string, allowed: readonly string[]) {
    super(`a stage that is ${from} cannot become ${to}; ${nextOf(allowed)}`);
  }
}

function nextOf(allowed: readonly string[]): string {
  return allowed.length === 0 ? 'it never changes again' : `it can become ${allowed.join(', ')}`;
}

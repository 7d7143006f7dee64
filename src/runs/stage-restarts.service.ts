import { Inject, Injectable } from '@nestjs/common';
import type { WorkerSettings } from '../config/service-settings.js';
import { WORKER_SETTINGS } from '../config/tokens.js';
import type { Tx } from '../database/database.js';
import { StageAttemptsRepository, type AttemptCounts, type AttemptKey } from './stage-attempts.repository.js';
import type { Claim, ClaimOutcome, FailureClass, StageFailure } from './stage-claim.js';
import { StageLedgerRepository } from './stage-ledger.repository.js';

/** How often what may happen before a run is given up. */
export type RestartLimits = Pick<WorkerSettings, 'trainerRetries' | 'restartsPerDay' | 'crashLoopFailures' | 'crashLoopMs' | 'crashLoopDeaths' | 'crashLoopLosses'>;

/** A hold's end once it is decided whether its stage is tried again; `count` is how often that cause has struck in 24 hours. */
export type WeighedOutcome = ClaimOutcome | { readonly kind: 'retried'; readonly by: FailureClass; readonly error: StageFailure; readonly count: number };

const PREEMPTED: StageFailure = { code: 'stages.preempted', message: 'its worker was told to end', param: null };
const LOST: StageFailure = { code: 'stages.lost', message: 'its worker is gone', param: null };

/** Keeps the history of attempts and decides by it which failures are tried again. */
@Injectable()
export class StageRestarts {
  constructor(
    private readonly attempts: StageAttemptsRepository,
    private readonly ledger: StageLedgerRepository,
    @Inject(WORKER_SETTINGS) private readonly limits: RestartLimits,
  ) {}

  begin(tx: Tx, { stageId, epoch }: AttemptKey, nodeId: string): Promise<void> {
    return this.attempts.begin(tx, { stageId, epoch, nodeId });
  }

  /** Ends the attempt before this one, whose lease ran out. @returns why the run is given up; undefined when the stage goes on. */
  async takeOver(tx: Tx, { runId, stageId, epoch }: AttemptKey): Promise<StageFailure | undefined> {
    const lost = { runId, stageId, epoch: epoch - 1 };
    const weighed = await this.weighFailure(tx, lost, 'lost', LOST);
    return weighed.kind === 'failed' ? weighed.error : undefined;
  }

  /** Ends an attempt, and decides what its end means. The fence must have been passed. */
  async weigh(tx: Tx, claim: Claim, outcome: ClaimOutcome): Promise<WeighedOutcome> {
    if (outcome.kind === 'failed') return this.weighFailure(tx, claim, outcome.by, outcome.error);
    if (outcome.kind === 'stopped') return this.weighStop(tx, claim, outcome);
    await this.attempts.end(tx, claim, outcome.kind, outcome.kind === 'paused' ? outcome.cause.code : undefined);
    return outcome;
  }

  /** Work stops for an order to the run, or because its worker ends. */
  private async weighStop(tx: Tx, claim: Claim, outcome: ClaimOutcome): Promise<WeighedOutcome> {
    const run = await this.ledger.lockRun(tx, claim.runId);
    if (!run?.cancel_requested && !run?.pause_requested) return this.weighFailure(tx, claim, 'preempted', PREEMPTED);
    await this.attempts.end(tx, claim, run.cancel_requested ? 'cancelled' : 'paused');
    return outcome;
  }

  private async weighFailure(tx: Tx, attempt: AttemptKey, by: FailureClass, error: StageFailure): Promise<WeighedOutcome> {
    await this.attempts.end(tx, attempt, by, error.code);
    const counts = await this.attempts.count(tx, attempt, this.limits.crashLoopMs);
    const end = by === 'teacher' || by === 'invalid' || !counts ? error : this.endOf(by, counts, error);
    return end ? { kind: 'failed', by, error: end } : { kind: 'retried', by, error, count: counts?.today ?? 1 };
  }

  /** @returns why the run ends; undefined when the stage is tried again. */
  private endOf(by: FailureClass, { step, today, rapid, stuck, atStep }: AttemptCounts, last: StageFailure): StageFailure | undefined {
    const { trainerRetries, restartsPerDay, crashLoopFailures, crashLoopMs, crashLoopDeaths, crashLoopLosses } = this.limits;
    const isDeath = by === 'trainer_error';
    if ((isDeath && atStep >= crashLoopDeaths) || (by === 'lost' && atStep >= crashLoopLosses)) {
      return crashLoop(`it ended ${atStep} times ${step === null ? 'before its first step' : `after step ${step}`} with no new checkpoint in between`, last);
    }
    if ((isDeath || by === 'infra') && rapid >= crashLoopFailures) return crashLoop(`it failed ${rapid} times within ${Math.round(crashLoopMs / 1000)} s`, last);
    if (isDeath) return stuck > trainerRetries ? last : undefined;
    if (today <= restartsPerDay) return undefined;
    return { code: 'stages.too_many_restarts', message: `it was restarted ${restartsPerDay} times in 24 hours (${by}); the last time because ${last.message}`, param: null };
  }
}

function crashLoop(how: string, { code, message }: StageFailure): StageFailure {
  return { code: 'stages.crash_loop', message: `${how}; the last time: ${code}: ${message}`, param: null };
}

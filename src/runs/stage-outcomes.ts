import { Injectable } from '@nestjs/common';
import { AppError } from '../common/errors.js';
import type { Tx } from '../database/database.js';
import type { StageOffer } from '../queue/queue-names.js';
import { StudentService, type PlacedStudent } from '../students/students.service.js';
import { RunFeed } from './run-feed.service.js';
import { isFinished } from './run-states.js';
import type { Claim, ClaimOutcome, StageFailure } from './stage-claim.js';
import { StageLedgerRepository, type LockedRun } from './stage-ledger.repository.js';
import type { WeighedOutcome } from './stage-restarts.service.js';

/** Code of the refusal to give a model a name that another has. */
const NAME_TAKEN = 'models.name_taken';

type Success = Extract<ClaimOutcome, { kind: 'succeeded' }>;

/** What the beginning and the end of a worker's hold make of the stage, the stages after it, and the run. */
@Injectable()
export class StageOutcomes {
  constructor(
    private readonly repository: StageLedgerRepository,
    private readonly feed: RunFeed,
    private readonly students: StudentService,
  ) {}

  /** A worker begins a stage, or goes on with it: the run runs. */
  async begin(tx: Tx, run: LockedRun, { stage, epoch }: Claim): Promise<void> {
    const again = epoch > 1;
    await this.feed.tell(tx, run.id, { kind: 'event', type: again ? 'stage.resumed' : 'stage.started', message: `${stage} ${again ? 'goes on' : 'begins'}`, data: { stage, epoch } });
    if (run.status !== 'queued') return;
    const began = run.has_started ? { type: 'job.resumed', message: 'the job runs again' } : { type: 'job.started', message: 'the job runs' };
    await this.feed.move(tx, run.id, { to: 'running', event: began });
  }

  /** The last holder's lease ran out. */
  async tellLoss(tx: Tx, { runId, stage, epoch }: Claim, what: 'taken_over' | 'given_up'): Promise<void> {
    const message = `${stage}: its worker is gone${what === 'taken_over' ? '; another goes on' : ''}`;
    await this.feed.tell(tx, runId, { kind: 'event', level: 'warn', type: 'stage.lost', message, data: { stage, epoch } });
  }

  /** Applies an outcome behind the fence. @returns the stage to offer after the commit. */
  async apply(tx: Tx, claim: Claim, outcome: WeighedOutcome): Promise<StageOffer | undefined> {
    const run = await this.repository.lockRun(tx, claim.runId);
    if (!run) return undefined;
    if (outcome.kind === 'succeeded') return this.succeed(tx, { claim, run, outcome });
    if (outcome.kind === 'failed') return this.fail(tx, claim, outcome.error);
    if (outcome.kind === 'paused' && run.status === 'validating_files') return this.fail(tx, claim, outcome.cause);
    await this.repository.leave(tx, claim, { status: 'waiting' });
    if (outcome.kind === 'retried') await this.tellRetry(tx, claim, outcome);
    if (run.cancel_requested) return this.cancel(tx, run);
    if (run.pause_requested) return this.pause(tx, run);
    if (outcome.kind === 'paused') return this.pause(tx, run, outcome.cause);
    return { id: claim.stageId, queue: await this.repository.queueOf(tx, claim.stageId), epoch: claim.epoch + 1 };
  }

  /** Ends a run that was asked to pause or stop, unless a worker has taken it meanwhile. @returns whether it did. */
  async settle(tx: Tx, runId: string): Promise<boolean> {
    const run = await this.repository.lockRun(tx, runId);
    if (!run || isFinished(run.status) || (await this.repository.isHeld(tx, runId))) return false;
    if (run.cancel_requested) await this.cancel(tx, run);
    else if (run.pause_requested && run.status !== 'paused') await this.pause(tx, run);
    return true;
  }

  /** Lets a run go on that paused because its teacher was away, unless somebody ordered otherwise meanwhile. @returns whether it goes on. */
  async resumeForTeacher(tx: Tx, runId: string): Promise<boolean> {
    const run = await this.repository.lockRun(tx, runId);
    if (run?.status !== 'paused' || run.pause_requested || run.cancel_requested) return false;
    await this.repository.wake(tx, runId);
    await this.feed.move(tx, runId, { to: 'queued', event: { type: 'job.queued', message: 'the teacher answers again: the job waits for a worker to go on', data: { cause: 'teacher_back' } } });
    return true;
  }

  private async succeed(tx: Tx, { claim, run, outcome }: { claim: Claim; run: LockedRun; outcome: Success }): Promise<StageOffer | undefined> {
    const { stage, epoch } = claim;
    await this.repository.leave(tx, claim, { status: 'succeeded', account: outcome.account });
    await this.feed.tell(tx, run.id, { kind: 'event', type: 'stage.finished', message: `${stage} is done`, data: { stage, epoch, ...outcome.account } });
    if (outcome.plan) await this.repository.keepPlan(tx, run.id, outcome.plan);
    if (run.cancel_requested) return this.cancel(tx, run);
    const next = run.dry_run ? undefined : await this.repository.unblock(tx, run.id);
    if (!next) return this.complete(tx, run, outcome);
    if (run.status === 'validating_files') await this.feed.move(tx, run.id, { to: 'queued', event: { type: 'job.validated', message: 'all checks passed' } });
    return run.pause_requested ? this.pause(tx, run) : next;
  }

  private async complete(tx: Tx, run: LockedRun, { report, student }: Success): Promise<undefined> {
    await this.repository.rest(tx, run.id, 'cancelled');
    const model = student && (await this.adopt(tx, run, student));
    await this.repository.keepResult(tx, run.id, { report, model });
    const message = model ? `the job is done: ${model}` : 'all checks passed';
    await this.feed.move(tx, run.id, { to: 'succeeded', event: { type: 'job.succeeded', message, data: model ? { fine_tuned_model: model } : {} } });
  }

  /** Makes the exported student a model. @returns its name. */
  private async adopt(tx: Tx, run: LockedRun, student: PlacedStudent): Promise<string> {
    const name = await this.students.freeName(tx, `${run.model}-${run.suffix}`);
    try {
      await this.students.adopt(tx, { name, base: run.model, runId: run.id, student });
    } catch (error) {
      if (error instanceof AppError && error.code === NAME_TAKEN) return this.adopt(tx, run, student); // another took it in between; the next look sees that
      throw error;
    }
    await this.feed.tell(tx, run.id, { kind: 'event', type: 'model.created', message: `the student is the model ${name}`, data: { model: name } });
    return name;
  }

  private async tellRetry(tx: Tx, { runId, stage, epoch }: Claim, { by, error, count }: Extract<WeighedOutcome, { kind: 'retried' }>): Promise<void> {
    const level = by === 'preempted' ? ('info' as const) : ('warn' as const);
    const data = { stage, epoch, class: by, cause: { code: error.code, message: error.message }, count };
    await this.feed.tell(tx, runId, { kind: 'event', level, type: 'stage.retried', message: `${stage} is tried again: ${error.message}`, data });
  }

  private async fail(tx: Tx, claim: Claim, error: StageFailure): Promise<undefined> {
    await this.repository.leave(tx, claim, { status: 'failed', error });
    await this.repository.rest(tx, claim.runId, 'cancelled');
    const data = { stage: claim.stage, epoch: claim.epoch, ...error };
    await this.feed.move(tx, claim.runId, { to: 'failed', error, event: { level: 'error', type: 'job.failed', message: `${claim.stage} failed: ${error.message}`, data } });
  }

  private async cancel(tx: Tx, { id }: LockedRun): Promise<undefined> {
    await this.repository.rest(tx, id, 'cancelled');
    await this.feed.move(tx, id, { to: 'cancelled', event: { type: 'job.cancelled', message: 'the job was cancelled' } });
  }

  /** @param cause of a run that nobody asked to pause. */
  private async pause(tx: Tx, { id }: LockedRun, cause?: StageFailure): Promise<undefined> {
    await this.repository.rest(tx, id, 'paused');
    const event = cause
      ? { level: 'warn' as const, type: 'job.paused', message: `the job paused by itself: ${cause.message}`, data: { cause } }
      : { type: 'job.paused', message: 'the job is paused; resume goes on where it stopped' };
    await this.feed.move(tx, id, { to: 'paused', event, cause });
  }
}

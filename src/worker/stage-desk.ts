import { Inject, Injectable } from '@nestjs/common';
import type { WorkerSettings } from '../config/service-settings.js';
import { WORKER_SETTINGS } from '../config/tokens.js';
import type { StageJob } from '../queue/queue-names.js';
import { StageQueue } from '../queue/stage-queue.js';
import { StageLedger, type ClaimOutcome, type StageTask } from '../runs/stage-ledger.service.js';
import { StudentService } from '../students/students.service.js';
import { Hold } from './hold.js';
import type { Performed } from './stage-performer.js';

/** Where a worker takes stages and hands them in. */
@Injectable()
export class StageDesk {
  constructor(
    private readonly ledger: StageLedger,
    private readonly queue: StageQueue,
    private readonly students: StudentService,
    @Inject(WORKER_SETTINGS) private readonly settings: Pick<WorkerSettings, 'leaseMs' | 'renewMs' | 'databaseRetryMs'>,
  ) {}

  /** @returns a hold whose lease is renewed until it ends; undefined when the stage is not to be had. */
  async take(job: StageJob, nodeId: string, onRenewalFailed: (error: unknown) => void): Promise<Hold | undefined> {
    const { leaseMs, renewMs, databaseRetryMs: retryMs } = this.settings;
    const claim = await this.ledger.claim({ ...job, nodeId, leaseMs });
    return claim && new Hold({ claim, renewMs, retryMs, renew: (held) => this.ledger.renew(held), onRenewalFailed });
  }

  task({ claim }: Hold): Promise<StageTask> {
    return this.ledger.task(claim);
  }

  /** Hands a finished stage in, its student placed among the models, and offers the next. @throws FencedOut; what makes a student unusable. */
  async handIn(hold: Hold, { studentDir, ...outcome }: Performed): Promise<void> {
    if (studentDir === undefined) return this.end(hold, outcome);
    const student = await this.students.place(studentDir);
    try {
      await this.end(hold, { ...outcome, student });
    } catch (error) {
      // The commit may have come through although its answer did not.
      if (!(await this.students.isPlaced(student.place).catch(() => true))) await this.students.discard(student);
      throw error;
    }
  }

  /** Ends the hold otherwise, and offers what can go on. @throws FencedOut */
  async end(hold: Hold, outcome: ClaimOutcome): Promise<void> {
    hold.end();
    const next = await hold.patiently(() => this.ledger.finish(hold.claim, outcome));
    if (next) await this.queue.offer(next);
  }
}

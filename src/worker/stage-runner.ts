import { join } from 'node:path';
import { Inject, Injectable } from '@nestjs/common';
import type { WorkerSettings } from '../config/service-settings.js';
import { WORKER_SETTINGS } from '../config/tokens.js';
import { performStage } from '../distillation/run.js';
import type { StageJob } from '../queue/queue-names.js';
import { StageQueue } from '../queue/stage-queue.js';
import { FencedOut, StageLedger, type Claim, type ClaimOutcome } from '../runs/stage-ledger.service.js';
import { StudentService } from '../students/students.service.js';
import { Hold } from './hold.js';
import { NodeRegistrar } from './node-registrar.js';
import { patiently } from './patience.js';
import { RunReporter } from './run-reporter.js';
import { ServiceStore } from './service-store.js';
import { StageContexts } from './stage-context.js';
import { failureOf, isStopped } from './stage-failure.js';
import { WorkerLog } from './worker-log.js';

/** Claims stages and performs them, each under a lease that is renewed meanwhile. */
@Injectable()
export class StageRunner {
  private readonly holds = new Map<number, { readonly hold: Hold; readonly done: Promise<void> }>();
  private closing = false;

  constructor(
    private readonly ledger: StageLedger,
    private readonly queue: StageQueue,
    private readonly contexts: StageContexts,
    private readonly students: StudentService,
    private readonly node: NodeRegistrar,
    private readonly log: WorkerLog,
    @Inject(WORKER_SETTINGS) private readonly settings: WorkerSettings,
  ) {}

  /** Stages in work now. */
  get active(): number {
    return this.holds.size;
  }

  /** Performs the stage if it is to be had; returns when it is over, for whatever reason. */
  async run({ stageId, epoch }: StageJob): Promise<void> {
    if (this.closing || this.holds.has(stageId)) return;
    const claim = await this.ledger.claim({ stageId, epoch, nodeId: await this.node.id(), leaseMs: this.settings.leaseMs });
    if (!claim) return;
    const hold = this.takeHold(claim);
    const done = this.work(hold).finally(() => this.holds.delete(stageId));
    this.holds.set(stageId, { hold, done });
    if (this.closing) hold.stop('shutdown');
    await done;
  }

  /** Looks for orders now: to one stage, or to all. */
  look(stageId: number | undefined): void {
    for (const { hold } of this.holds.values()) if (stageId === undefined || hold.claim.stageId === stageId) hold.look();
  }

  /** Takes no more stages, stops those in work at a step boundary, and gives them back; kills what takes longer than `withinMs`. */
  async close(withinMs: number): Promise<void> {
    this.closing = true;
    const running = [...this.holds.values()];
    for (const { hold } of running) hold.stop('shutdown');
    const killer = setTimeout(() => running.forEach(({ hold }) => hold.kill()), withinMs);
    await Promise.all(running.map(({ done }) => done));
    clearTimeout(killer);
  }

  private takeHold(claim: Claim): Hold {
    const onRenewalFailed = (error: unknown): void => this.log.of(claim).warn({ err: error }, 'the lease was not renewed');
    return new Hold({ claim, renewMs: this.settings.renewMs, renew: (held) => this.ledger.renew(held), onRenewalFailed });
  }

  private async work(hold: Hold): Promise<void> {
    const log = this.log.of(hold.claim);
    log.info('the stage begins');
    try {
      const outcome = await this.perform(hold);
      if (outcome) await this.finish(hold, outcome);
      log.info({ outcome: outcome?.kind ?? 'lost', reason: hold.reason }, 'the stage is over');
    } catch (error) {
      log.error({ err: error }, error instanceof FencedOut ? 'the stage belongs to another worker now' : 'the stage was left to its lease');
    } finally {
      hold.end();
    }
  }

  /** @returns undefined when the stage is lost: then nothing more may be said of it. */
  private async perform(hold: Hold): Promise<ClaimOutcome | undefined> {
    try {
      return await this.performed(hold);
    } catch (error) {
      if (error instanceof FencedOut) hold.stop('lost');
      if (hold.reason === 'lost') return undefined;
      if (isStopped(error, hold)) return { kind: 'stopped' };
      this.log.of(hold.claim).error({ err: error }, 'the stage failed');
      return { kind: 'failed', error: failureOf(error) };
    }
  }

  private async performed(hold: Hold): Promise<ClaimOutcome> {
    const { claim, stopSignal, killSignal } = hold;
    const store = await ServiceStore.open(join(this.settings.storeDir, 'runs', claim.runId), this.patientFiles(hold), claim);
    const reporter = this.reporterOf(hold);
    try {
      const task = await this.ledger.task(claim);
      const { context, close } = await this.contexts.open(task, { store, epoch: claim.epoch, onEvent: reporter.onEvent, killSignal });
      const outcome = await performStage(claim.stage, context, stopSignal).finally(close);
      return { kind: 'succeeded', ...outcome, ...(outcome.report && { student: await this.students.place(store.path('student')) }) };
    } finally {
      await reporter.close();
    }
  }

  private async finish(hold: Hold, outcome: ClaimOutcome): Promise<void> {
    try {
      const next = await this.patient(hold, () => this.ledger.finish(hold.claim, outcome));
      if (next) await this.queue.offer(next);
    } catch (error) {
      if (outcome.kind === 'succeeded' && outcome.student) await this.students.discard(outcome.student);
      throw error;
    }
  }

  private reporterOf(hold: Hold): RunReporter {
    const { metricsFlushMs: flushMs, metricsFlushPoints: flushPoints } = this.settings;
    const onFailure = (error: unknown): void => {
      if (error instanceof FencedOut) hold.stop('lost');
      else this.log.of(hold.claim).error({ err: error }, 'a report was not written');
    };
    return new RunReporter({ claim: hold.claim, ledger: this.ledger, write: (work) => this.patient(hold, work), flushMs, flushPoints, onFailure });
  }

  private patientFiles(hold: Hold): Pick<StageLedger, 'files' | 'writeFiles' | 'removeFiles'> {
    return {
      files: (claim) => this.patient(hold, () => this.ledger.files(claim)),
      writeFiles: (claim, files) => this.patient(hold, () => this.ledger.writeFiles(claim, files)),
      removeFiles: (claim, name) => this.patient(hold, () => this.ledger.removeFiles(claim, name)),
    };
  }

  private patient<Result>({ killSignal: until }: Hold, work: () => Promise<Result>): Promise<Result> {
    return patiently(work, { retryMs: this.settings.databaseRetryMs, until });
  }
}

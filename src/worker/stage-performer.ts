import { join } from 'node:path';
import { Inject, Injectable } from '@nestjs/common';
import type { WorkerSettings } from '../config/service-settings.js';
import { WORKER_SETTINGS } from '../config/tokens.js';
import { performStage } from '../distillation/run.js';
import { StageFiles } from '../runs/stage-files.service.js';
import type { ClaimOutcome, StageTask } from '../runs/stage-ledger.service.js';
import { StageReports } from '../runs/stage-reports.service.js';
import { StageContexts } from './stage-context.js';
import type { Hold } from './hold.js';
import { RunReporter } from './run-reporter.js';
import { ServiceStore } from './service-store.js';

/** A stage that came to its end, and where the exported student lies when it was the last one. */
export type Performed = Extract<ClaimOutcome, { kind: 'succeeded' }> & { readonly studentDir?: string };

/** Does a held stage's work. */
@Injectable()
export class StagePerformer {
  constructor(
    private readonly contexts: StageContexts,
    private readonly files: StageFiles,
    private readonly reports: StageReports,
    @Inject(WORKER_SETTINGS) private readonly settings: Pick<WorkerSettings, 'storeDir' | 'metricsFlushMs' | 'metricsFlushPoints'>,
  ) {}

  /** @param onUnwritten told of reports that could not be written. @throws what the work throws; FencedOut when the stage belongs to another by now. */
  async perform(task: StageTask, hold: Hold, onUnwritten: (error: unknown) => void): Promise<Performed> {
    const { claim, stopSignal, killSignal } = hold;
    const store = await ServiceStore.open(join(this.settings.storeDir, 'runs', claim.runId), this.filesFor(hold), claim);
    const { metricsFlushMs: flushMs, metricsFlushPoints: flushPoints } = this.settings;
    const reporter = new RunReporter({ claim, reports: this.reports, write: (work) => hold.patiently(work), flushMs, flushPoints, onUnwritten });
    try {
      const { onEvent, settled, onAttempt, onAway } = reporter;
      const asking = { patience: claim.stage === 'validate' ? ('fails' as const) : ('waits' as const), onAttempt, onAway };
      const { context, close } = await this.contexts.open(task, { store, epoch: claim.epoch, onEvent, settled, killSignal, asking });
      const outcome = await performStage(claim.stage, context, stopSignal).finally(close);
      return { kind: 'succeeded', ...outcome, ...(outcome.report && { studentDir: store.path('student') }) };
    } finally {
      await reporter.close();
    }
  }

  private filesFor(hold: Hold): Pick<StageFiles, 'list' | 'commit' | 'forget'> {
    return {
      list: (claim) => hold.patiently(() => this.files.list(claim)),
      commit: (claim, files) => hold.patiently(() => this.files.commit(claim, files)),
      forget: (claim, name) => hold.patiently(() => this.files.forget(claim, name)),
    };
  }
}

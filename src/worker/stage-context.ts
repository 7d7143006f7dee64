import { statfs } from 'node:fs/promises';
import { freemem } from 'node:os';
import { Inject, Injectable } from '@nestjs/common';
import type { WorkerSettings } from '../config/service-settings.js';
import { WORKER_SETTINGS } from '../config/tokens.js';
import type { RunContext } from '../distillation/run.js';
import type { Engine } from '../engine/engine.js';
import type { StageTask } from '../runs/stage-ledger.service.js';
import { SELF_FENCE_SHARE } from './hold.js';
import { StageInputs } from './stage-inputs.js';
import type { TeacherAsking } from './stage-teachers.js';
import { StageTools } from './stage-tools.js';

/** The claim's parts of a stage's context. */
export interface StageSurroundings extends Pick<RunContext, 'store' | 'epoch' | 'onEvent' | 'settled'> {
  /** Fires when engines are to be killed. */
  readonly killSignal: AbortSignal;
  readonly asking: TeacherAsking;
}

/** A stage's context; `close` lets the teacher go. */
export interface OpenContext {
  readonly context: RunContext;
  close(): Promise<void>;
}

/** Gives a stage everything the core needs. */
@Injectable()
export class StageContexts {
  constructor(
    private readonly inputs: StageInputs,
    private readonly tools: StageTools,
    @Inject(WORKER_SETTINGS) private readonly settings: Pick<WorkerSettings, 'storeDir' | 'engine' | 'threads' | 'device' | 'leaseMs'>,
  ) {}

  /** @throws AppError when something the run names is gone, damaged, or no longer allowed. */
  async open(task: StageTask, { killSignal, asking, ...parts }: StageSurroundings): Promise<OpenContext> {
    const inputs = await this.inputs.open(task, asking);
    const { bavail, bsize } = await statfs(this.settings.storeDir);
    const context: RunContext = {
      ...inputs,
      ...parts,
      openEngine: (dir) => this.openEngine(dir, parts.onEvent, killSignal),
      runInterchange: this.tools.runInterchange,
      clock: () => performance.now(),
      freeMemoryBytes: freemem(),
      freeDiskBytes: bavail * bsize,
    };
    return { context, close: () => inputs.teacher.close() };
  }

  private openEngine(modelDir: string, onEvent: RunContext['onEvent'], killSignal: AbortSignal): Promise<Engine> {
    const { engine: implementation, threads, device, leaseMs } = this.settings;
    const onWarning = (message: string): void => onEvent({ kind: 'warning', message });
    return this.tools.openEngine({ modelDir, implementation, threads, device, hostSilenceMs: leaseMs * SELF_FENCE_SHARE, killSignal, onWarning });
  }
}

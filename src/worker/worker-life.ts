import { Inject, Injectable, type BeforeApplicationShutdown } from '@nestjs/common';
import type { WorkerSettings } from '../config/service-settings.js';
import { WORKER_SETTINGS } from '../config/tokens.js';
import { DatabaseListener } from '../database/listener.js';
import { NODE_ORDERS } from '../nodes/nodes.service.js';
import { STAGE_ORDERS } from '../runs/stage-ledger.service.js';
import { NodeRegistrar } from './node-registrar.js';
import { StageProcessors } from './stage.processors.js';
import { StageRunner } from './stage-runner.js';
import { Sweep } from './sweep.js';

/** Parts of a worker that begin and end in order. */
@Injectable()
export class WorkerParts {
  constructor(
    readonly node: NodeRegistrar,
    readonly processors: StageProcessors,
    readonly sweep: Sweep,
    readonly runner: StageRunner,
  ) {}
}

/**
 * A worker's beginning and end: it takes stages once its node is registered; at the end it takes no more, gives its stages back, and says that
 * it stopped. Queues and database close after that.
 */
@Injectable()
export class WorkerLife implements BeforeApplicationShutdown {
  private begun = false;
  private draining = false;

  constructor(
    private readonly parts: WorkerParts,
    private readonly listener: DatabaseListener,
    @Inject(WORKER_SETTINGS) private readonly settings: Pick<WorkerSettings, 'shutdownMs'>,
  ) {}

  get isDraining(): boolean {
    return this.draining;
  }

  async begin(): Promise<void> {
    this.begun = true;
    const { node, processors, sweep, runner } = this.parts;
    await node.id();
    this.listener.listen(STAGE_ORDERS, (stageId) => runner.look(stageId === undefined ? undefined : Number(stageId)));
    node.heed((drains) => this.drainNode(drains));
    this.listener.listen(NODE_ORDERS, () => void node.look());
    processors.start();
    sweep.start();
  }

  /** Kills what is still in work: nobody waits any longer for a step boundary, or for a save. */
  hurry(): void {
    this.parts.runner.hurry();
  }

  /** Whether stages had to be given back without a save. */
  get isAbandoning(): boolean {
    return this.parts.runner.isAbandoning;
  }

  async beforeApplicationShutdown(): Promise<void> {
    const { node, processors, sweep, runner } = this.parts;
    this.draining = true;
    if (!this.begun) return;
    const ended = runner.close(this.settings.shutdownMs);
    await Promise.all([processors.stop(), sweep.stop(), ended]);
    await node.stop();
  }

  /** Of its stages the renewals tell. */
  private drainNode(drains: boolean): void {
    const { processors, runner } = this.parts;
    if (this.draining) return;
    void (drains ? processors.stop() : processors.resume());
    runner.look(undefined);
  }
}

import { Inject, Injectable } from '@nestjs/common';
import type { WorkerSettings } from '../config/service-settings.js';
import { WORKER_SETTINGS } from '../config/tokens.js';
import type { QueueName } from '../queue/queue-names.js';
import { NodeRegistrar } from './node-registrar.js';
import { StageTools } from './stage-tools.js';
import { WorkerLog } from './worker-log.js';

/** What this worker has room for: places for stages, and the device. */
@Injectable()
export class Workplace {
  /** Stages that are being claimed or worked on. */
  private readonly busy: Record<QueueName, number> = { collect: 0, device: 0 };

  constructor(
    private readonly node: NodeRegistrar,
    private readonly tools: StageTools,
    private readonly log: WorkerLog,
    @Inject(WORKER_SETTINGS) private readonly settings: Pick<WorkerSettings, 'collectSlots' | 'deviceSlots' | 'device'>,
  ) {}

  /** Does the work of a stage if there is room for it; returns when it is over. @param work gets the node's id. */
  async within(queue: QueueName, work: (nodeId: string) => Promise<void>): Promise<void> {
    const places = queue === 'collect' ? this.settings.collectSlots : this.settings.deviceSlots;
    if (this.busy[queue] >= places) return;
    this.busy[queue]++;
    try {
      if (queue === 'collect' || (await this.isDeviceFree())) await work(await this.node.id());
    } finally {
      this.busy[queue]--;
    }
  }

  private async isDeviceFree(): Promise<boolean> {
    const { device } = this.settings;
    const isFree = await this.tools.isDeviceFree(device, (pid) => this.log.all.warn({ pid, device }, 'an engine of a worker that is gone was killed'));
    if (!isFree) this.log.all.warn({ device }, 'another engine of this machine has the device; the stage is left for later');
    return isFree;
  }
}

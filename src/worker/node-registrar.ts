import { cpus, hostname, totalmem } from 'node:os';
import { Inject, Injectable } from '@nestjs/common';
import { limbeckVersion } from '../common/version.js';
import type { WorkerSettings } from '../config/service-settings.js';
import { WORKER_SETTINGS } from '../config/tokens.js';
import { NodesService, type NodeDescription } from '../nodes/nodes.service.js';
import { WorkerLog } from './worker-log.js';

/** Enters this worker among the nodes and shows that it lives. */
@Injectable()
export class NodeRegistrar {
  private registered: Promise<string> | undefined;
  private heartbeat: NodeJS.Timeout | undefined;
  private beatAt = performance.now();
  private drains = false;
  private onDrain: (drains: boolean) => void = () => undefined;

  constructor(
    private readonly nodes: NodesService,
    private readonly log: WorkerLog,
    @Inject(WORKER_SETTINGS) private readonly settings: WorkerSettings,
  ) {}

  /** The node's id; the first call registers it. */
  id(): Promise<string> {
    this.registered ??= this.register();
    this.registered.catch(() => (this.registered = undefined));
    return this.registered;
  }

  /** Milliseconds since the database last heard of this node. */
  get silentMs(): number {
    return performance.now() - this.beatAt;
  }

  /** Tells `onDrain` whenever the node is to drain, or no longer. */
  heed(onDrain: (drains: boolean) => void): void {
    this.onDrain = onDrain;
  }

  /** Asks for orders to the node now. */
  async look(): Promise<void> {
    if (this.registered) await this.beat(await this.registered);
  }

  /** Says that the worker has ended in order. */
  async stop(): Promise<void> {
    clearInterval(this.heartbeat);
    if (this.registered) await this.nodes.markStopped(await this.registered);
  }

  private async register(): Promise<string> {
    const id = await this.nodes.register(describe(this.settings));
    this.log.nameNode(id);
    this.beatAt = performance.now();
    this.heartbeat = setInterval(() => void this.beat(id), this.settings.heartbeatMs);
    return id;
  }

  private async beat(id: string): Promise<void> {
    try {
      const drains = await this.nodes.beat(id);
      this.beatAt = performance.now();
      if (drains !== this.drains) this.onDrain((this.drains = drains));
    } catch (error) {
      this.log.all.warn({ err: error }, 'the heartbeat was not written');
    }
  }
}

function describe({ nodeName, engine, threads, collectSlots, deviceSlots }: WorkerSettings): NodeDescription {
  const queues = [...(collectSlots > 0 ? ['collect'] : []), ...(deviceSlots > 0 ? ['device'] : [])];
  const devices = [{ kind: 'cpu' as const, name: cpus()[0]?.model ?? 'unknown' }];
  return { name: nodeName ?? hostname(), devices, memoryBytes: totalmem(), engine, version: limbeckVersion(), threads, queues };
}

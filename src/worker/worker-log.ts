import type { Claim } from '../runs/stage-ledger.service.js';
import pino from 'pino';

/** The worker's log: JSON lines; what concerns a stage carries its run, name, epoch and node. */
export class WorkerLog {
  private node: string | undefined;

  constructor(private readonly root: pino.Logger) {}

  /** Says which node every later line comes from. */
  nameNode(id: string): void {
    this.node = id;
  }

  get all(): pino.Logger {
    return this.root.child({ node: this.node });
  }

  of({ runId, stage, epoch }: Claim): pino.Logger {
    return this.root.child({ node: this.node, run_id: runId, stage, epoch });
  }
}

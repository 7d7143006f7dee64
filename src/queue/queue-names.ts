/** The queues, by what a stage needs: `collect` no device, `device` one. */
export const QUEUES = ['collect', 'device'] as const;
export type QueueName = (typeof QUEUES)[number];

/** What a job in Redis says: a row to look at and the claim it is for. Postgres decides whether there is anything to do. */
export interface StageJob {
  /** `stages.id`. */
  readonly stageId: number;
  /** The epoch that the claim takes: the row's plus one. */
  readonly epoch: number;
}

/** A stage that a worker may claim. */
export interface StageOffer {
  /** `stages.id`. */
  readonly id: number;
  readonly queue: QueueName;
  /** The epoch that the claim takes: the row's plus one. */
  readonly epoch: number;
}

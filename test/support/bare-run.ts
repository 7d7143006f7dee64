import { z } from 'zod';
import { createDataSource } from '../../src/database/data-source.js';
import { Database } from '../../src/database/database.js';
import { MetricsChartRepository } from '../../src/metrics/metrics-chart.repository.js';
import { MetricsIngestRepository } from '../../src/metrics/metrics-ingest.repository.js';
import { MetricsService } from '../../src/metrics/metrics.service.js';
import { RunFeed } from '../../src/runs/run-feed.service.js';
import { WorkerSettings } from '../../src/config/service-settings.js';
import { StageAttemptsRepository } from '../../src/runs/stage-attempts.repository.js';
import { StageFence } from '../../src/runs/stage-fence.js';
import { StageFiles } from '../../src/runs/stage-files.service.js';
import { StageLedgerRepository } from '../../src/runs/stage-ledger.repository.js';
import { StageLedger, type Claim } from '../../src/runs/stage-ledger.service.js';
import { StageOutcomes } from '../../src/runs/stage-outcomes.js';
import { StageReports } from '../../src/runs/stage-reports.service.js';
import { StageRestarts, type RestartLimits } from '../../src/runs/stage-restarts.service.js';
import { StudentService } from '../../src/students/students.service.js';
import { freshDatabase } from './service-servers.js';
import { storeRun } from './stored-run.js';

/** The ledger and what stands behind its fence, on a database of their own, with a worker's rights. */
export interface LedgerParts {
  readonly database: Database;
  readonly feed: RunFeed;
  readonly ledger: StageLedger;
  readonly files: StageFiles;
  readonly reports: StageReports;
  readonly outcomes: StageOutcomes;
  readonly nodeId: string;
  close(): Promise<void>;
}

/** As a worker has them that was told nothing else. */
const { trainerRetries, restartsPerDay, crashLoopFailures, crashLoopMs, crashLoopDeaths, crashLoopLosses } = WorkerSettings.shape;
const RESTARTS = z.strictObject({ trainerRetries, restartsPerDay, crashLoopFailures, crashLoopMs, crashLoopDeaths, crashLoopLosses }).parse({});

export async function openLedger(storeDir: string, limits: Partial<RestartLimits> = {}): Promise<LedgerParts> {
  const postgres = await freshDatabase();
  const database = new Database(await createDataSource({ url: postgres.workerUrl, poolSize: 8, statementMs: 10_000, connectMs: 5_000 }).initialize());
  const owner = new Database(await createDataSource({ url: postgres.url, poolSize: 2, statementMs: 10_000, connectMs: 5_000 }).initialize());
  const feed = new RunFeed();
  const fence = new StageFence(database);
  const repository = new StageLedgerRepository(database);
  const outcomes = new StageOutcomes(repository, feed, new StudentService(database, { storeDir }));
  const nodeId = 'node-1';
  await owner.query(`insert into nodes (id, name, devices, memory_bytes, engine, version, threads, queues) values ($1, 'n', '[]', 1, 'reference', '0', 1, '{device}')`, [nodeId]);
  return {
    database: owner,
    feed,
    ledger: new StageLedger(repository, fence, outcomes, new StageRestarts(new StageAttemptsRepository(), repository, { ...RESTARTS, ...limits })),
    files: new StageFiles(database, fence),
    reports: new StageReports(fence, feed, new MetricsService(new MetricsIngestRepository(), new MetricsChartRepository(database))),
    outcomes,
    nodeId,
    close: async () => {
      await database.onApplicationShutdown();
      await owner.onApplicationShutdown();
      await postgres.close();
    },
  };
}

/** A queued run of these stages, the first waiting. @returns ids of the stages in order. */
export async function storeStages(database: Database, runId: string, stages: readonly string[], status = 'queued'): Promise<number[]> {
  await storeRun(database, runId);
  await database.query('update runs set status = $2 where id = $1', [runId, status]);
  const rows = await database.query<{ id: number }>(
    `insert into stages (run_id, name, ordinal, queue, status)
     select $1, name, ordinal, case when name = 'collect' then 'collect' else 'device' end, case when ordinal = 1 then 'waiting' else 'blocked' end
     from unnest($2::text[]) with ordinality as stage(name, ordinal) returning id`,
    [runId, stages],
  );
  return rows.map(({ id }) => id);
}

/** Claims a stage that must be to be had. */
export async function mustClaim({ ledger, nodeId }: LedgerParts, stageId: number, epoch: number): Promise<Claim> {
  const claim = await ledger.claim({ stageId, epoch, nodeId, leaseMs: 60_000 });
  if (!claim) throw new Error(`stage ${stageId} was not to be had at epoch ${epoch}`);
  return claim;
}

/** Lets a stage's lease run out now. */
export async function expire(database: Database, stageId: number): Promise<void> {
  await database.query(`update stages set lease_expires_at = clock_timestamp() - interval '1 millisecond' where id = $1`, [stageId]);
}

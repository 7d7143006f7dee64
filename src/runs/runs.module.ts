import { Module } from '@nestjs/common';
import { MetricsModule } from '../metrics/metrics.module.js';
import { StudentsModule } from '../students/students.module.js';
import { DryRuns } from './dry-runs.js';
import { RunChanges } from './run-changes.service.js';
import { RunCreationRepository } from './run-creation.repository.js';
import { RunCreation } from './run-creation.service.js';
import { RunFeed } from './run-feed.service.js';
import { RunHistoryController } from './run-history.controller.js';
import { RunHistoryRepository } from './run-history.repository.js';
import { RunHistory } from './run-history.service.js';
import { RunMetricsController } from './run-metrics.controller.js';
import { RunOrdersController } from './run-orders.controller.js';
import { RunOrders } from './run-orders.service.js';
import { RunStream } from './run-stream.service.js';
import { RunSubmission } from './run-submission.js';
import { RunsController } from './runs.controller.js';
import { RunsRepository } from './runs.repository.js';
import { RunsService } from './runs.service.js';
import { StageLedgerRepository } from './stage-ledger.repository.js';
import { StageOutcomes } from './stage-outcomes.js';

/** Jobs over REST. Needs the database, its listener and the queues, which their modules give to every other. */
@Module({
  imports: [MetricsModule, StudentsModule],
  controllers: [RunsController, RunOrdersController, RunHistoryController, RunMetricsController],
  providers: [RunsService, RunsRepository, RunCreation, RunCreationRepository, RunSubmission, RunFeed, RunOrders, StageOutcomes, StageLedgerRepository, RunHistory, RunHistoryRepository, RunChanges, RunStream, DryRuns],
  exports: [RunsService],
})
export class RunsModule {}

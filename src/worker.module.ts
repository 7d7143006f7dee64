import { Module, type DynamicModule } from '@nestjs/common';
import pino from 'pino';
import type { WorkerSettings } from './config/service-settings.js';
import { SettingsModule } from './config/settings.module.js';
import { WORKER_SETTINGS } from './config/tokens.js';
import { DatabaseModule } from './database/database.module.js';
import { Database } from './database/database.js';
import { logOptions, loggingModule } from './http/logging.js';
import { MetricsModule } from './metrics/metrics.module.js';
import { NodesRepository } from './nodes/nodes.repository.js';
import { NodesService } from './nodes/nodes.service.js';
import { PromptSetService } from './prompt-sets/prompt-sets.service.js';
import { QueueModule } from './queue/queue.module.js';
import { RunFeed } from './runs/run-feed.service.js';
import { StageAttemptsRepository } from './runs/stage-attempts.repository.js';
import { StageFence } from './runs/stage-fence.js';
import { StageFiles } from './runs/stage-files.service.js';
import { StageLedgerRepository } from './runs/stage-ledger.repository.js';
import { StageLedger } from './runs/stage-ledger.service.js';
import { StageOutcomes } from './runs/stage-outcomes.js';
import { StageReports } from './runs/stage-reports.service.js';
import { StageRestarts } from './runs/stage-restarts.service.js';
import { StudentService } from './students/students.service.js';
import { TeacherEndpoints } from './teachers/teacher-endpoints.service.js';
import { TeacherService } from './teachers/teacher.service.js';
import { Delivery } from './worker/delivery.js';
import { NodeRegistrar } from './worker/node-registrar.js';
import { ProbeServer } from './worker/probe-server.js';
import { StageContexts } from './worker/stage-context.js';
import { StageDesk } from './worker/stage-desk.js';
import { StageInputs } from './worker/stage-inputs.js';
import { StagePerformer } from './worker/stage-performer.js';
import { StageProcessors } from './worker/stage.processors.js';
import { StageRunner } from './worker/stage-runner.js';
import { StageTeachers } from './worker/stage-teachers.js';
import { HostedTools, StageTools } from './worker/stage-tools.js';
import { Sweep } from './worker/sweep.js';
import { TeacherBoards } from './worker/teacher-board.js';
import { TeacherGovernors } from './worker/teacher-governors.js';
import { TeacherWatch } from './worker/teacher-watch.js';
import { WorkerLife, WorkerParts } from './worker/worker-life.js';
import { WorkerLog } from './worker/worker-log.js';
import { WorkerMetrics } from './worker/worker-metrics.js';
import { Workplace } from './worker/workplace.js';

/** Services of features, without their routes. */
const SERVICES = [NodesRepository, NodesService, RunFeed, StageAttemptsRepository, StageFence, StageFiles, StageLedger, StageLedgerRepository, StageOutcomes, StageReports, StageRestarts];
const WORK = [Delivery, NodeRegistrar, ProbeServer, StageContexts, StageDesk, StageInputs, StagePerformer, StageProcessors, StageRunner, StageTeachers, Sweep, TeacherBoards, TeacherGovernors, TeacherWatch, WorkerLife, WorkerMetrics, WorkerParts, Workplace];

/** The whole worker process. */
@Module({})
export class WorkerModule {
  /** @param tools what computes; processes of their own unless a test says otherwise. */
  static of(settings: WorkerSettings, tools: StageTools = new HostedTools()): DynamicModule {
    const log = { level: settings.logLevel, service: 'worker' };
    return {
      module: WorkerModule,
      imports: [SettingsModule.of(WORKER_SETTINGS, settings), loggingModule(log), DatabaseModule.of(settings), QueueModule.of(settings), MetricsModule],
      providers: [
        ...SERVICES,
        ...WORK,
        { provide: WorkerLog, useFactory: () => new WorkerLog(pino(logOptions(log))) },
        { provide: StageTools, useValue: tools },
        { provide: StudentService, inject: [Database], useFactory: (database: Database) => new StudentService(database, settings) },
        { provide: PromptSetService, inject: [Database], useFactory: (database: Database) => new PromptSetService(database, settings) },
        { provide: TeacherEndpoints, inject: [Database], useFactory: (database: Database) => new TeacherEndpoints(database) },
        { provide: TeacherService, inject: [Database], useFactory: (database: Database) => new TeacherService(database, settings) },
      ],
    };
  }
}

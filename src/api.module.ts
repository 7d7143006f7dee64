import { Module, type DynamicModule, type Type } from '@nestjs/common';
import { AuthModule } from './auth/auth.module.js';
import type { ApiSettings } from './config/service-settings.js';
import { SettingsModule } from './config/settings.module.js';
import { API_SETTINGS } from './config/tokens.js';
import { DatabaseModule } from './database/database.module.js';
import { HealthModule } from './health/health.module.js';
import { HttpModule } from './http/http.module.js';
import { loggingModule } from './http/logging.js';
import { MetricsModule } from './metrics/metrics.module.js';
import { NodesModule } from './nodes/nodes.module.js';
import { PromptSetsModule } from './prompt-sets/prompt-sets.module.js';
import { QueueModule } from './queue/queue.module.js';
import { RunsModule } from './runs/runs.module.js';
import { StudentsModule } from './students/students.module.js';
import { TeachersModule } from './teachers/teachers.module.js';

/** In the order in which features may use each other. */
const FEATURES = [AuthModule, TeachersModule, PromptSetsModule, StudentsModule, NodesModule, MetricsModule, RunsModule];

/** The whole API process. */
@Module({})
export class ApiModule {
  /** @param features by default all of them */
  static of(settings: ApiSettings, features: readonly Type[] = FEATURES): DynamicModule {
    const plumbing = [
      SettingsModule.of(API_SETTINGS, settings),
      loggingModule({ level: settings.logLevel, service: 'api' }),
      HttpModule,
      DatabaseModule.of(settings),
      QueueModule.of(settings),
    ];
    return { module: ApiModule, imports: [...plumbing, HealthModule, ...features] };
  }
}

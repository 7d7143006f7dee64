import { Module, type DynamicModule } from '@nestjs/common';
import { ApiKey } from './api-key.guard.js';
import { CompletionService } from './completion.service.js';
import { CompletionsController } from './completions.controller.js';
import type { RequestLimits } from './completion-plan.js';
import { TeacherCounters } from './counters.js';
import { ModelsController } from './models.controller.js';
import { Scheduler } from './scheduler.js';
import { ServedModel } from './served-model.js';
import { StatusController } from './status.controller.js';
import { TokenizeController } from './tokenize.controller.js';

/** What the routes work with. */
export interface TeacherParts {
  readonly model: ServedModel;
  readonly scheduler: Scheduler;
  readonly counters: TeacherCounters;
  readonly apiKey: ApiKey;
  readonly limits: RequestLimits;
}

@Module({ controllers: [CompletionsController, ModelsController, TokenizeController, StatusController] })
export class TeacherModule {
  static of({ model, scheduler, counters, apiKey, limits }: TeacherParts): DynamicModule {
    return {
      module: TeacherModule,
      providers: [
        { provide: ServedModel, useValue: model },
        { provide: Scheduler, useValue: scheduler },
        { provide: TeacherCounters, useValue: counters },
        { provide: ApiKey, useValue: apiKey },
        { provide: CompletionService, useValue: new CompletionService(model, scheduler, limits) },
      ],
    };
  }
}

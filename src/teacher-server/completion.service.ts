import { randomUUID } from 'node:crypto';
import { completionJson } from './completion-answer.js';
import { planCompletion, type RequestLimits } from './completion-plan.js';
import type { CompletionRequest } from './completion.schema.js';
import type { Scheduler } from './scheduler.js';
import type { ServedModel } from './served-model.js';

/** Answers completion requests. */
export class CompletionService {
  constructor(
    private readonly model: ServedModel,
    private readonly scheduler: Scheduler,
    private readonly limits: RequestLimits,
  ) {}

  /** @returns the JSON body. @throws RequestRefused, ModelNotServed, QueueFull, ServerStopping, RuntimeFailed, Aborted when `signal` fires. */
  async answer(request: CompletionRequest, signal: AbortSignal): Promise<string> {
    const asks = planCompletion(request, this.model, this.limits);
    const created = Math.floor(Date.now() / 1000);
    const answers = await this.scheduler.answer(asks, signal);
    return completionJson(this.model, { id: `cmpl-${randomUUID()}`, created, request, asks, answers });
  }
}

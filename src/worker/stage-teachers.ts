import { Inject, Injectable } from '@nestjs/common';
import type { WorkerSettings } from '../config/service-settings.js';
import { WORKER_SETTINGS } from '../config/tokens.js';
import type { PressureOptions } from '../teacher-clients/pressure/teacher-pressure.js';
import type { TeacherClient } from '../teacher-clients/teacher-client.js';
import type { VllmLimits } from '../teacher-clients/vllm/vllm-options.js';
import { VllmTeacherClient } from '../teacher-clients/vllm/vllm-teacher-client.js';
import { TeacherService } from '../teachers/teacher.service.js';
import { TeacherGovernors } from './teacher-governors.js';

/** How a stage asks its teacher. */
export type TeacherAsking = Pick<PressureOptions, 'patience' | 'onAttempt' | 'onAway'>;

/** A teacher that a stage may ask. */
export interface OpenTeacher {
  readonly baseUrl: string;
  readonly model: string;
  readonly teacher: TeacherClient;
}

/** Opens the teachers that stages ask, under what all workers together may ask of them. */
@Injectable()
export class StageTeachers {
  constructor(
    private readonly teachers: TeacherService,
    private readonly governors: TeacherGovernors,
    @Inject(WORKER_SETTINGS) private readonly settings: WorkerSettings,
  ) {}

  /** The caller closes the teacher. @param vocabSize rows of the student's embedding. @throws TeacherNotFound, EgressRefused, SecretUnreadable */
  async open(id: string, { asking, vocabSize }: { readonly asking: TeacherAsking; readonly vocabSize: number }): Promise<OpenTeacher> {
    const { baseUrl, model, apiKey, dispatcher } = await this.teachers.connection(id);
    const pressure = this.governors.pressure(baseUrl, asking);
    const teacher = new VllmTeacherClient({ baseUrl, model, vocabSize, apiKey, dispatcher, replies: 'withheld', limits: limitsOf(this.settings), pressure });
    return { baseUrl, model, teacher };
  }
}

function limitsOf(settings: WorkerSettings): Partial<VllmLimits> {
  return {
    answerMs: settings.endpointAnswerMs,
    answerMsPerToken: settings.endpointAnswerMsPerToken,
    silenceMs: settings.endpointSilenceMs,
    slowestBytesPerMs: settings.endpointSlowestBytesPerMs,
    tries: settings.endpointTries,
    retryWaitMs: settings.endpointRetryWaitMs,
    retryWaitMostMs: settings.endpointRetryWaitMostMs,
  };
}

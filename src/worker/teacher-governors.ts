import { Inject, Injectable, type OnModuleDestroy, type OnModuleInit } from '@nestjs/common';
import type { WorkerSettings } from '../config/service-settings.js';
import { WORKER_SETTINGS } from '../config/tokens.js';
import { DatabaseListener } from '../database/listener.js';
import { Governor } from '../teacher-clients/pressure/governor.js';
import { TeacherPressure, type PressureOptions } from '../teacher-clients/pressure/teacher-pressure.js';
import { SYSTEM_TIMING } from '../teacher-clients/timing.js';
import { TEACHER_ENDPOINTS } from '../teachers/teacher-endpoints.service.js';
import { TeacherBoards } from './teacher-board.js';
import { WorkerLog } from './worker-log.js';

/** One governor for each endpoint that this worker asks. */
@Injectable()
export class TeacherGovernors implements OnModuleInit, OnModuleDestroy {
  private readonly governors = new Map<string, Governor>();
  private stopListening: (() => void) | undefined;

  constructor(
    private readonly boards: TeacherBoards,
    private readonly listener: DatabaseListener,
    private readonly log: WorkerLog,
    @Inject(WORKER_SETTINGS) private readonly settings: Pick<WorkerSettings, 'endpointAwayMs' | 'endpointSyncMs'>,
  ) {}

  onModuleInit(): void {
    this.stopListening = this.listener.listen(TEACHER_ENDPOINTS, (baseUrl) => this.look(baseUrl));
  }

  onModuleDestroy(): void {
    this.stopListening?.();
  }

  /** How a stage asks an endpoint. */
  pressure(baseUrl: string, asking: Pick<PressureOptions, 'patience' | 'onAttempt' | 'onAway'>): TeacherPressure {
    const governor = this.governors.get(baseUrl) ?? this.open(baseUrl);
    return new TeacherPressure({ ...asking, governor, awayMs: this.settings.endpointAwayMs });
  }

  private open(baseUrl: string): Governor {
    const onBoardFailed = (error: unknown): void => this.log.all.warn({ err: error }, 'what the teacher bears could not be looked up');
    const governor = new Governor({ endpoint: baseUrl, board: this.boards.of(baseUrl), rules: this.boards.rules, timing: SYSTEM_TIMING, freshMs: this.settings.endpointSyncMs, onBoardFailed });
    this.governors.set(baseUrl, governor);
    return governor;
  }

  private look(baseUrl: string | undefined): void {
    for (const [endpoint, governor] of this.governors) if (baseUrl === undefined || baseUrl === endpoint) governor.look();
  }
}

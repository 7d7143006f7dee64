import { Inject, Injectable, type OnApplicationBootstrap, type OnModuleDestroy } from '@nestjs/common';
import type { WorkerSettings } from '../config/service-settings.js';
import { WORKER_SETTINGS } from '../config/tokens.js';
import { probed } from '../teacher-clients/pressure/endpoint-state.js';
import { TeacherRefused } from '../teacher-clients/teacher-client.js';
import { VllmTeacherClient } from '../teacher-clients/vllm/vllm-teacher-client.js';
import { TeacherEndpoints } from '../teachers/teacher-endpoints.service.js';
import { TeacherService } from '../teachers/teacher.service.js';
import { rulesOf } from './teacher-board.js';
import { WorkerLog } from './worker-log.js';

/** A probe that was taken is nobody else's for as long as it may take, and this much more. */
const TAKEN_MARGIN_MS = 5_000;
const ANY_VOCABULARY = 2 ** 31 - 1;

/** Probes teachers that are away. In the whole installation there is one probe of an endpoint at a time. */
@Injectable()
export class TeacherWatch implements OnApplicationBootstrap, OnModuleDestroy {
  private readonly stopping = new AbortController();
  private looking: Promise<void> | undefined;
  private timer: NodeJS.Timeout | undefined;

  constructor(
    private readonly endpoints: TeacherEndpoints,
    private readonly teachers: TeacherService,
    private readonly log: WorkerLog,
    @Inject(WORKER_SETTINGS) private readonly settings: WorkerSettings,
  ) {}

  onApplicationBootstrap(): void {
    this.timer = setInterval(() => this.look(), this.settings.sweepMs);
  }

  async onModuleDestroy(): Promise<void> {
    clearInterval(this.timer);
    this.stopping.abort();
    await this.looking;
  }

  /** Sends the probes that are due, unless some are still under way; does not wait for their answers. */
  private look(): void {
    this.looking ??= this.once()
      .catch((error: unknown) => this.log.all.warn({ err: error }, 'teachers that are away could not be probed'))
      .finally(() => (this.looking = undefined));
  }

  private async once(): Promise<void> {
    const due = await this.endpoints.takeProbes(this.settings.endpointProbeWithinMs + TAKEN_MARGIN_MS);
    await Promise.all(due.map((baseUrl) => this.probe(baseUrl)));
  }

  private async probe(baseUrl: string): Promise<void> {
    const result = await this.knock(baseUrl);
    if (this.stopping.signal.aborted) return; // another worker asks when the time is over
    if (result === 'gone') return this.endpoints.forget(baseUrl);
    const rules = rulesOf(this.settings);
    await this.endpoints.settle(baseUrl, (row, now) => probed(row, result, { now, rules }));
  }

  private async knock(baseUrl: string): Promise<'answered' | 'failed' | 'gone'> {
    const connection = await this.teachers.connectionTo(baseUrl);
    if (!connection) return 'gone';
    const { model, apiKey, dispatcher } = connection;
    const withinMs = this.settings.endpointProbeWithinMs;
    const limits = { answerMs: withinMs, answerMsPerToken: 0, silenceMs: withinMs };
    const client = new VllmTeacherClient({ baseUrl, model, apiKey, dispatcher, vocabSize: ANY_VOCABULARY, replies: 'withheld', limits });
    try {
      await client.knock(this.stopping.signal);
      return 'answered';
    } catch (error) {
      return error instanceof TeacherRefused ? 'answered' : 'failed'; // who refuses is there
    } finally {
      await client.close();
    }
  }
}

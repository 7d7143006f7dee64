import { Inject, Injectable } from '@nestjs/common';
import type { WorkerSettings } from '../config/service-settings.js';
import { WORKER_SETTINGS } from '../config/tokens.js';
import { advance, freshEndpoint, type PressureReport, type PressureRules } from '../teacher-clients/pressure/endpoint-state.js';
import { standingOf, type Board, type Standing } from '../teacher-clients/pressure/board.js';
import { TeacherEndpoints } from '../teachers/teacher-endpoints.service.js';
import { NodeRegistrar } from './node-registrar.js';

/** Whose board it is, and how it counts who else asks. */
export interface SharedBoardOptions {
  readonly endpoints: TeacherEndpoints;
  readonly baseUrl: string;
  readonly nodeId: () => Promise<string>;
  readonly rules: PressureRules;
  /** Between exchanges while anything is asked, milliseconds. */
  readonly syncMs: number;
}

/** An asker that missed so many exchanges asks no longer. */
const MISSED = 10;
/** Exchanges after which it is the next asker's turn, where there are fewer places than askers. */
const TURN = 5;

/** Keeps an endpoint's state where all workers share it. */
export class SharedBoard implements Board {
  constructor(private readonly options: SharedBoardOptions) {}

  /** @throws DatabaseUnavailable, DatabaseBusy */
  async exchange(report: PressureReport): Promise<Standing> {
    const { endpoints, baseUrl, rules, syncMs } = this.options;
    const asker = { baseUrl, nodeId: await this.options.nodeId(), silentMs: MISSED * syncMs, fresh: freshEndpoint(rules) };
    const { row, now, askers, place } = await endpoints.ask(asker, (before, at) => (isNews(report) ? advance(before, report, { now: at, rules }) : undefined));
    return standingOf(row, { now, askers, turn: (place + Math.floor(now / (TURN * syncMs))) % askers });
  }
}

function isNews({ clean, calls, gaveUp, slowAgeMs, heldMs }: PressureReport): boolean {
  return clean > 0 || calls > 0 || gaveUp || slowAgeMs !== undefined || heldMs !== undefined;
}

/** The boards of this worker. */
@Injectable()
export class TeacherBoards {
  readonly rules: PressureRules;

  constructor(
    private readonly endpoints: TeacherEndpoints,
    private readonly node: NodeRegistrar,
    @Inject(WORKER_SETTINGS) private readonly settings: WorkerSettings,
  ) {
    this.rules = rulesOf(settings);
  }

  of(baseUrl: string): Board {
    const { endpoints, rules } = this;
    return new SharedBoard({ endpoints, baseUrl, rules, syncMs: this.settings.endpointSyncMs, nodeId: () => this.node.id() });
  }
}

/** What the settings say of endpoints. */
export function rulesOf(settings: WorkerSettings): PressureRules {
  return {
    concurrency: settings.endpointConcurrency,
    concurrencyMost: settings.endpointConcurrencyMost,
    windowMs: settings.endpointWindowMs,
    circuitCalls: settings.endpointCircuitCalls,
    retryFloor: settings.endpointRetryFloor,
    probeMs: settings.endpointProbeMs,
    probeMostMs: settings.endpointProbeMostMs,
    awayMs: settings.endpointAwayMs,
    retryAfterMostMs: settings.endpointRetryAfterMostMs,
  };
}

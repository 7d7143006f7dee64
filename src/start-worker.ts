import 'reflect-metadata';
import { NestFactory } from '@nestjs/core';
import { Logger } from 'nestjs-pino';
import type { WorkerSettings } from './config/service-settings.js';
import { Database } from './database/database.js';
import { requireOwnSchema } from './database/schema-version.js';
import { ProbeServer } from './worker/probe-server.js';
import { WorkerLife } from './worker/worker-life.js';
import type { StageTools } from './worker/stage-tools.js';
import { WorkerModule } from './worker.module.js';

/** A worker that takes stages. */
export interface RunningWorker {
  /** Of its probes. */
  readonly probePort: number;
  /** Gives its stages back and ends. */
  close(): Promise<void>;
}

/** Starts a worker in this process. @throws SchemaMismatch, DatabaseUnavailable; the system's error when the probes' port is taken */
export async function startWorker(settings: WorkerSettings, tools?: StageTools): Promise<RunningWorker> {
  const app = await NestFactory.createApplicationContext(WorkerModule.of(settings, tools), { bufferLogs: true, abortOnError: false });
  try {
    app.useLogger(app.get(Logger));
    await requireOwnSchema(app.get(Database));
    await app.get(WorkerLife).begin();
    const probePort = await app.get(ProbeServer).listen();
    return { probePort, close: () => app.close() };
  } catch (error) {
    await app.close();
    throw error;
  }
}

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
  /** Gives its stages back, saved at a step boundary as far as `shutdownMs` allows, and ends. @returns whether a save had to be abandoned. */
  close(): Promise<{ readonly abandoned: boolean }>;
  /** Lets a closing worker wait for nothing more. */
  hurry(): void;
}

/** Starts a worker in this process. @throws SchemaMismatch, DatabaseUnavailable; the system's error when the probes' port is taken */
export async function startWorker(settings: WorkerSettings, tools?: StageTools): Promise<RunningWorker> {
  const app = await NestFactory.createApplicationContext(WorkerModule.of(settings, tools), { bufferLogs: true, abortOnError: false });
  try {
    app.useLogger(app.get(Logger));
    await requireOwnSchema(app.get(Database));
    const life = app.get(WorkerLife);
    await life.begin();
    const probePort = await app.get(ProbeServer).listen();
    const close = async (): Promise<{ abandoned: boolean }> => {
      await app.close();
      return { abandoned: life.isAbandoning };
    };
    return { probePort, close, hurry: () => life.hurry() };
  } catch (error) {
    await app.close();
    throw error;
  }
}

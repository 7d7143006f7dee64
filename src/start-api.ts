import { Logger } from '@nestjs/common';
import { ApiModule } from './api.module.js';
import { boardLogin } from './auth/board-login.js';
import { AuthService } from './auth/auth.service.js';
import type { ApiSettings } from './config/service-settings.js';
import { Database } from './database/database.js';
import { requireOwnSchema } from './database/schema-version.js';
import { createApp } from './http/create-app.js';
import { Draining } from './http/draining.js';
import { listen, type ListeningAt } from './http/listen.js';
import { serveOpenApi } from './http/openapi.js';
import { serveBoard } from './queue/board.js';

/** An API process that listens. */
export interface RunningApi extends ListeningAt {
  /** Leaves in order: not ready, no longer listening, streams ended, requests answered, queues and database closed. */
  close(): Promise<void>;
}

/** Starts the API. @param module by default the whole of it @throws SchemaMismatch, DatabaseUnavailable, RouteWithoutRule; the system's error when the port is taken */
export async function startApi(settings: ApiSettings, module = ApiModule.of(settings)): Promise<RunningApi> {
  const app = await createApp(module, settings);
  try {
    await requireOwnSchema(app.get(Database));
    serveOpenApi(app);
    serveBoard(app, boardLogin(app.get(AuthService)));
    const at = await listen(app, settings);
    new Logger('Api').log(`listens on ${at.url}`);
    const close = async (): Promise<void> => {
      await app.get(Draining).start();
      await app.close();
    };
    return { ...at, close };
  } catch (error) {
    await app.close();
    throw error;
  }
}

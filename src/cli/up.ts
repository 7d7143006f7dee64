import { homedir } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { upSettingsFromEnvironment } from '../config/up-settings.js';
import { startService } from '../embedded/supervisor.js';
import { stopOnSignal } from './stop.js';

interface UpFlags {
  readonly data: string;
  readonly port?: string;
}

/** Where an installation keeps everything unless it is told otherwise. */
const DEFAULT_DATA_DIR = join(homedir(), '.limbeck');

/** `up`: the whole service on this machine, until a signal ends it. */
export function addUpCommand(program: Command): void {
  program
    .command('up')
    .description('run the whole service on this machine: Postgres, Redis, API and a worker')
    .option('--data <dir>', 'where everything is kept', DEFAULT_DATA_DIR)
    .option('--port <number>', 'port of the API; 0 takes a free one (default: 8080)')
    .addHelpText('after', '\nEvery LIMBECK_* variable of the API and the worker is handed on. LIMBECK_DATABASE_URL and LIMBECK_REDIS_URL replace the Postgres and Redis that come along.')
    .action(async ({ data, port }: UpFlags) => {
      const { supervisor, api, worker } = upSettingsFromEnvironment();
      const signal = stopOnSignal('ending worker, API, Redis and Postgres, in this order');
      const tell = (line: string): void => void process.stderr.write(`${line}\n`);
      const service = await startService({ dataDir: data, supervisor, api: port === undefined ? api : { ...api, port }, worker, onNotice: tell });
      process.stdout.write(`API        ${service.url}\ndocs       ${service.url}/docs\nadmin key  ${service.adminKeyFile}\nlogs       ${join(service.dataDir, 'logs')}\n`);
      if (!signal.aborted) await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
      await service.stop();
    });
}

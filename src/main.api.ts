import { AppError } from './common/errors.js';
import { apiSettingsFromEnvironment } from './config/service-settings.js';
import { startApi } from './start-api.js';

try {
  const api = await startApi(apiSettingsFromEnvironment());
  process.send?.({ url: api.url, port: api.port });
  let closing: Promise<void> | undefined;
  const stop = (): void => {
    closing ??= api.close().then(() => process.exit(0));
  };
  process.on('SIGTERM', stop).on('SIGINT', stop).on('disconnect', stop);
} catch (error) {
  process.stderr.write(`${error instanceof AppError ? `${error.code}: ${error.message}` : String(error)}\n`);
  process.exit(1);
}

import { AppError } from './common/errors.js';
import { workerSettingsFromEnvironment } from './config/service-settings.js';
import { startWorker } from './start-worker.js';

/** Beyond the time that stages are given: what is still open is cut off. */
const CLOSING_MS = 5_000;

try {
  const settings = workerSettingsFromEnvironment();
  const worker = await startWorker(settings);
  process.send?.({ ready: true, probePort: worker.probePort });
  let closing: Promise<void> | undefined;
  const stop = (): void => {
    if (closing) return;
    setTimeout(() => process.exit(1), settings.shutdownMs + CLOSING_MS).unref();
    closing = worker.close().then(() => process.exit(0));
  };
  process.on('SIGTERM', stop).on('SIGINT', stop).on('disconnect', stop);
} catch (error) {
  process.stderr.write(`${error instanceof AppError ? `${error.code}: ${error.message}` : String(error)}\n`);
  process.exit(1);
}

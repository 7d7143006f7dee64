import { AppError } from './common/errors.js';
import { workerSettingsFromEnvironment } from './config/service-settings.js';
import { startWorker } from './start-worker.js';

/** Beyond the time that stages are given: what is still open is cut off. */
const CLOSING_MS = 5_000;
/** Says that the worker was made to end before its stages could be saved (EX_TEMPFAIL of sysexits.h): what they had not saved is done again elsewhere. */
const ABANDONED = 75;

try {
  const settings = workerSettingsFromEnvironment();
  const worker = await startWorker(settings);
  process.send?.({ ready: true, probePort: worker.probePort });
  let closing = false;
  const stop = async (): Promise<void> => {
    if (closing) return worker.hurry();
    closing = true;
    setTimeout(() => process.exit(1), settings.shutdownMs + CLOSING_MS).unref();
    process.exit((await worker.close()).abandoned ? ABANDONED : 0);
  };
  for (const order of ['SIGTERM', 'SIGINT', 'disconnect']) process.on(order, () => void stop());
} catch (error) {
  process.stderr.write(`${error instanceof AppError ? `${error.code}: ${error.message}` : String(error)}\n`);
  process.exit(1);
}

import { setMaxListeners } from 'node:events';

const EXIT_STOPPED = 130;

/**
 * Turns the first Ctrl-C or SIGTERM into an abort, after saying what will happen; a second one leaves at once.
 * @param promise what the first signal leads to, shown to the user.
 */
export function stopOnSignal(promise: string): AbortSignal {
  const controller = new AbortController();
  setMaxListeners(0, controller.signal); // every request in flight listens, and their number is bounded elsewhere
  const onSignal = (): void => {
    if (controller.signal.aborted) process.exit(EXIT_STOPPED);
    process.stderr.write(`\n${promise}\n`);
    controller.abort();
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  return controller.signal;
}

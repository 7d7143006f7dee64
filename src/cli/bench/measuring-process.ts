import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { computeThreadVariables } from '../../common/compute-threads.js';
import { Aborted, AppError } from '../../common/errors.js';
import { titleOf, type Case } from './case.js';
import type { Figure } from './figure.js';

/** What the process is told, as JSON on its command line. */
export interface Order {
  readonly title: string;
  readonly threads: number;
  readonly rounds: number;
  readonly modelDir: string;
  readonly probedBytes: number;
}

/** What it says, once. */
export type Answer = { readonly figures: readonly Figure[] } | { readonly failure: string };

/** A case could not be measured; says why. */
export class CaseFailed extends AppError {
  readonly code = 'bench.case_failed';
  readonly kind = 'unavailable';
}

/** Measures a case in a process of its own, with the threads' settings of an engine process. @throws CaseFailed; Aborted, with the process gone. */
export async function measureCase(entry: Case, order: Omit<Order, 'title'>, signal: AbortSignal): Promise<readonly Figure[]> {
  const title = titleOf(entry);
  const child = fork(fileURLToPath(new URL('../../main.bench.js', import.meta.url)), [JSON.stringify({ ...order, title } satisfies Order)], {
    execArgv: ['--enable-source-maps'],
    signal,
    killSignal: 'SIGKILL', // native calls take their time
    env: computeThreadVariables(order.threads),
  });
  const answer = await new Promise<Answer>((resolve) => {
    child.once('message', (message) => resolve(message as Answer));
    child.once('error', ({ message }) => resolve({ failure: message }));
    child.once('exit', (code, signal) => resolve({ failure: signal ? `its process was killed by ${signal}` : `its process ended with status ${code}` }));
  });
  if (signal.aborted) throw new Aborted('the benchmark');
  if ('failure' in answer) throw new CaseFailed(`${title}: ${answer.failure}`);
  return answer.figures;
}

import { Worker } from 'node:worker_threads';
import { InterchangeUnusable, type InterchangeResult, type InterchangeTask } from './interchange-session.js';

export interface InterchangeJob {
  /** An `onnx/model.onnx` as `writeInterchangeModel` writes it. */
  readonly modelPath: string;
  readonly threads: number;
  readonly tasks: readonly InterchangeTask[];
}

/**
 * Runs an interchange model in a thread of its own, so that the caller's event loop turns meanwhile; the thread and the model are gone afterwards.
 * @param entry the compiled `interchange-worker.js`; the default is that of this build.
 * @returns one result for each task, in order. @throws InterchangeUnusable
 */
export async function runInterchange(job: InterchangeJob, entry: string | URL = new URL('./interchange-worker.js', import.meta.url)): Promise<readonly InterchangeResult[]> {
  const worker = new Worker(entry, { workerData: job });
  try {
    return await new Promise((resolve, reject) => {
      worker.once('message', resolve);
      worker.once('error', reject);
      worker.once('exit', (code) => reject(new InterchangeUnusable(`the thread that ran ${job.modelPath} ended with code ${code}`)));
    });
  } catch (cause) {
    if (cause instanceof InterchangeUnusable) throw cause;
    throw new InterchangeUnusable(cause instanceof Error ? cause.message : String(cause), { cause });
  } finally {
    await worker.terminate();
  }
}

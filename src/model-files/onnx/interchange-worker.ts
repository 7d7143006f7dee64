import { parentPort, workerData } from 'node:worker_threads';
import { InterchangeSession } from './interchange-session.js';
import type { InterchangeJob } from './run-interchange.js';

/** Entry of the thread that runs an interchange model: does the job in `workerData`, posts the results and ends. */
async function work({ modelPath, threads, tasks }: InterchangeJob): Promise<void> {
  const session = await InterchangeSession.open(modelPath, threads);
  const results = [];
  for (const task of tasks) results.push(await session.run(task));
  await session.close();
  parentPort?.postMessage(results);
}

await work(workerData);

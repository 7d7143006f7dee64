import { dirname } from 'node:path';
import { parentPort, workerData } from 'node:worker_threads';
import { importGguf } from '../model-files/gguf/import-gguf.js';
import { openStudent, withoutPlace } from './student-directory.js';
import type { InspectionJob, InspectionOutcome } from './student-inspection.js';
import { ModelRefused } from './students.errors.js';

/** Entry of the thread that opens a pushed model: does the job in `workerData`, posts the outcome and ends. What is no refusal ends the thread with its error. */
async function work({ dir, gguf }: InspectionJob): Promise<InspectionOutcome> {
  try {
    if (gguf !== undefined) await importModel(gguf, dir);
    return { nature: await openStudent(dir) };
  } catch (cause) {
    if (cause instanceof ModelRefused) return { refusal: { code: cause.code, kind: cause.kind, message: cause.message } };
    throw cause;
  }
}

async function importModel(gguf: string, dir: string): Promise<void> {
  try {
    await importGguf(gguf, { outDir: dir });
  } catch (cause) {
    throw withoutPlace(withoutPlace(cause, dirname(gguf)), dir);
  }
}

parentPort?.postMessage(await work(workerData as InspectionJob));

import { Worker } from 'node:worker_threads';
import type { StudentNature } from './student-directory.js';
import { InspectionFailed, ModelRefused, type Refusal } from './students.errors.js';

/** Token under which a process that does not run from the build says where the compiled `student-inspection.thread.js` lies. */
export const INSPECTION_ENTRY = Symbol('InspectionEntry');

/** Megabytes of JavaScript values that the thread may hold; the largest tokenizers known take about a quarter of it. */
const HEAP_MEGABYTES = 2048;

export interface InspectionJob {
  /** Absolute; the Hugging Face directory to open. */
  readonly dir: string;
  /** Absolute path of a GGUF file that is imported into `dir` first. */
  readonly gguf?: string;
}

/** What the thread answers. */
export type InspectionOutcome = { readonly nature: StudentNature } | { readonly refusal: Refusal };

/**
 * Opens what strangers sent in a thread of its own, under limits of time and memory: a tokenizer's patterns and a chat template are programs of a kind,
 * and nothing that is sent may keep the API from answering.
 */
export class StudentInspection {
  constructor(
    private readonly limitMs: number,
    private readonly entry: string | URL = new URL('./student-inspection.thread.js', import.meta.url),
  ) {}

  /** @throws ModelRefused with the reader's own code; InspectionFailed when it takes too long or too much. */
  async run(job: InspectionJob): Promise<StudentNature> {
    const worker = new Worker(this.entry, { workerData: job, env: {}, execArgv: [], resourceLimits: { maxOldGenerationSizeMb: HEAP_MEGABYTES } });
    let timer: NodeJS.Timeout | undefined;
    try {
      const outcome = await new Promise<InspectionOutcome>((resolve, reject) => {
        worker.once('message', resolve);
        worker.once('error', reject);
        worker.once('exit', () => reject(new InspectionFailed('opening the model ended early')));
        timer = setTimeout(() => reject(new InspectionFailed(`opening the model took longer than ${this.limitMs} ms; is there an endless loop in its chat template?`)), this.limitMs);
      });
      if ('refusal' in outcome) throw new ModelRefused(outcome.refusal);
      return outcome.nature;
    } catch (cause) {
      if (cause instanceof Error && 'code' in cause && cause.code === 'ERR_WORKER_OUT_OF_MEMORY') throw new InspectionFailed(`opening the model took more than ${HEAP_MEGABYTES} MB of memory`, { cause });
      throw cause;
    } finally {
      clearTimeout(timer);
      await worker.terminate();
    }
  }
}

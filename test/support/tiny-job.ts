import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify as toYaml } from 'yaml';
import { runLimbeck, type Finished } from './limbeck-process.js';
import { startTestTeacher } from './teacher.js';
import { layInputs } from './whole-inputs.js';

/** A job for `limbeck distill` with its inputs and its teacher. */
export interface TinyJob {
  /** Holds everything, the out directories too. */
  readonly dir: string;
  readonly teacherUrl: string;
  /** Runs the job into `dir/out`. */
  distill(out: string, extra?: readonly string[], options?: Parameters<typeof runLimbeck>[1]): Promise<Finished>;
  close(): Promise<void>;
}

/** @param change fields of `method.distillation`. */
export async function layTinyJob(change: object = {}): Promise<TinyJob> {
  const dir = await mkdtemp(join(tmpdir(), 'limbeck-job-'));
  const teacher = await startTestTeacher({ modelDir: await layInputs(dir), modelName: 'tiny-teacher' });
  await writeFile(join(dir, 'job.yaml'), toYaml(job(teacher.url, change)));
  return {
    dir,
    teacherUrl: teacher.url,
    distill: (out, extra = [], options) => runLimbeck(['distill', join(dir, 'job.yaml'), '--out', join(dir, out), ...extra], options),
    close: async () => {
      await teacher.close();
      await rm(dir, { recursive: true, force: true });
    },
  };
}

function job(teacherUrl: string, change: object): object {
  return {
    model: './student',
    training_file: './train.jsonl',
    validation_file: './heldout.jsonl',
    seed: 11,
    method: {
      type: 'distillation',
      distillation: {
        teacher: { dialect: 'vllm', base_url: teacherUrl, model: 'tiny-teacher' },
        targets: { top_k: 16 },
        collect: { max_tokens: 12 },
        distill: { epochs: 3, loss_tokens_per_step: 60, learning_rate: 1e-3 },
        align: { steps: 7, prompts_per_step: 4, max_tokens: 10, learning_rate: 2e-4 },
        evaluate: { prompts: 4, rollouts_per_prompt: 2, max_tokens: 10 },
        checkpoint_every: { steps: 2 },
        export: ['safetensors'],
        ...change,
      },
    },
  };
}

/** Name the demo's teacher server answers to. */
export const TEACHER_NAME = 'smollm2-135m-instruct';

/** Layers that the student of SmolLM2-135M-Instruct keeps; README.md beside this file holds the measurements behind the choice. */
const SMOLLM2_LAYERS: readonly number[] = [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 15, 20, 21, 22, 23, 24, 27, 28, 29];
const SMOLLM2_DEPTH = 30;

/** Which layers the demo's student keeps of a teacher of `depth` layers: the measured ones of SmolLM2, else two thirds, evenly spread, first and last among them. */
export function keptLayers(depth: number): readonly number[] {
  if (depth === SMOLLM2_DEPTH) return SMOLLM2_LAYERS;
  const count = Math.max(1, Math.round((2 * depth) / 3));
  return Array.from({ length: count }, (_, index) => (count === 1 ? 0 : Math.round((index * (depth - 1)) / (count - 1))));
}

/** The demo's job as a file for `limbeck distill`, with a teacher that wants no key. */
export function demoJob(teacherUrl: string): object {
  const named = { model: './start', trainingFile: './train.jsonl', validationFile: './heldout.jsonl' };
  return jobWith({ ...named, teacher: { dialect: 'vllm', base_url: teacherUrl, model: TEACHER_NAME } });
}

/** What the demo names in its submission. */
export interface DemoInputs {
  readonly model: string;
  readonly trainingFile: string;
  readonly validationFile: string;
  readonly teacher: string;
  readonly controls: 'none' | 'all';
}

/** The demo's job as it is submitted over REST. */
export function demoSubmission(inputs: DemoInputs): object {
  return jobWith(inputs);
}

interface Named {
  readonly model: string;
  readonly trainingFile: string;
  readonly validationFile: string;
  readonly teacher: string | object;
  readonly controls?: 'none' | 'all';
}

/** Learning rates as README.md beside this file measures them. */
function jobWith({ model, trainingFile, validationFile, teacher, controls = 'none' }: Named): object {
  const loss = (kind: string): object => ({ kind, truncation: 'tail_bucket' });
  return {
    model,
    training_file: trainingFile,
    validation_file: validationFile,
    seed: 7,
    suffix: 'demo',
    method: {
      type: 'distillation',
      distillation: {
        teacher,
        targets: { top_k: 64 },
        modes: { plain: 1 },
        collect: { samples_per_prompt: 1, max_tokens: 64, temperature: 1 },
        distill: { loss: loss('forward_kl'), epochs: 1, loss_tokens_per_step: 512, learning_rate: 3.3e-4 },
        align: { loss: loss('reverse_kl'), steps: 24, prompts_per_step: 24, max_tokens: 64, learning_rate: 2e-4 },
        optimizer: { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0, clip: 1, schedule: 'cosine', warmup: 0.1 },
        evaluate: { prompts: 48, rollouts_per_prompt: 4, max_tokens: 64 },
        checkpoint_every: '5m',
        export: ['safetensors', 'onnx'],
        controls,
      },
    },
  };
}

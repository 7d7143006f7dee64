/** Name the demo's teacher server answers to. */
export const TEACHER_NAME = 'smollm2-135m-instruct';
/** Where the job says the teacher's key is found. */
export const TEACHER_KEY_VARIABLE = 'LIMBECK_DEMO_TEACHER_KEY';

/** Layers of the teacher that the student keeps; README.md beside this file holds the measurements behind the choice. */
export const KEPT_LAYERS: readonly number[] = Array.from({ length: 24 }, (_, layer) => layer);

/** The demo's job, as it is written to `job.yaml`; learning rates as README.md beside this file measures them. */
export function demoJob(teacherUrl: string): object {
  const loss = (kind: string): object => ({ kind, truncation: 'tail_bucket' });
  return {
    model: './start',
    training_file: './train.jsonl',
    validation_file: './heldout.jsonl',
    seed: 7,
    suffix: 'demo',
    method: {
      type: 'distillation',
      distillation: {
        teacher: { dialect: 'vllm', base_url: teacherUrl, api_key_env: TEACHER_KEY_VARIABLE, model: TEACHER_NAME },
        targets: { top_k: 64 },
        modes: { plain: 1 },
        collect: { samples_per_prompt: 1, max_tokens: 64, temperature: 1 },
        distill: { loss: loss('forward_kl'), epochs: 3, loss_tokens_per_step: 1024, learning_rate: 1e-3 },
        align: { loss: loss('reverse_kl'), steps: 12, prompts_per_step: 16, max_tokens: 64, learning_rate: 2e-4 },
        optimizer: { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0, clip: 1, schedule: 'cosine', warmup: 0.1 },
        evaluate: { prompts: 48, max_tokens: 64 },
        checkpoint_every: '5m',
        export: ['safetensors', 'onnx'],
      },
    },
  };
}

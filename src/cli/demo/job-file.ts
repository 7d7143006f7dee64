/** Name the demo's teacher server answers to. */
export const TEACHER_NAME = 'smollm2-135m-instruct';
/** Where the demo's job says its teacher's key is found. */
export const TEACHER_KEY_VARIABLE = 'LIMBECK_DEMO_TEACHER_KEY';

/** Layers of the teacher that the student keeps; README.md beside this file holds the measurements behind the choice. */
export const KEPT_LAYERS: readonly number[] = Array.from({ length: 24 }, (_, layer) => layer);

/** What a study of learning rates changes in the demo's job. */
export interface DemoRates {
  readonly distill: number;
  readonly align: number;
  readonly alignSteps?: number;
}

/** As README.md beside this file measures them. */
export const RATES: DemoRates = { distill: 1e-3, align: 2e-4 };

/** The demo's job, as it is written to `job.yaml`. `apiKeyVariable` is left out for a teacher that wants no key. */
export function demoJob(teacherUrl: string, rates: DemoRates, apiKeyVariable?: string): object {
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
        teacher: { dialect: 'vllm', base_url: teacherUrl, ...(apiKeyVariable === undefined ? {} : { api_key_env: apiKeyVariable }), model: TEACHER_NAME },
        targets: { top_k: 64 },
        modes: { plain: 1 },
        collect: { samples_per_prompt: 1, max_tokens: 64, temperature: 1 },
        distill: { loss: loss('forward_kl'), epochs: 3, loss_tokens_per_step: 1024, learning_rate: rates.distill },
        align: { loss: loss('reverse_kl'), steps: rates.alignSteps ?? 12, prompts_per_step: 16, max_tokens: 64, learning_rate: rates.align },
        optimizer: { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0, clip: 1, schedule: 'cosine', warmup: 0.1 },
        evaluate: { prompts: 48, max_tokens: 64 },
        checkpoint_every: '5m',
        export: ['safetensors', 'onnx'],
      },
    },
  };
}

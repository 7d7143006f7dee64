import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { RunContext } from '../../src/distillation/context.js';
import type { RunEvent } from '../../src/distillation/events.js';
import { parsePrompts } from '../../src/distillation/prompts.js';
import { parseSpec, type DistillationSpec, type Spec } from '../../src/distillation/spec.js';
import { ReferenceEngine } from '../../src/engine/reference/reference-engine.js';
import { ChatTemplate } from '../../src/model-files/chat-template.js';
import { InterchangeSession } from '../../src/model-files/onnx/interchange-session.js';
import { Tokenizer } from '../../src/model-files/tokenizer.js';
import { DirectoryStore } from '../../src/storage/directory-store.js';
import { EngineTeacher } from './engine-teacher.js';
import { writeTinyModel } from './tiny-model.js';

const WORDS = ['sun', 'tea', 'ink', 'oak', 'sea', 'ash', 'fog', 'hen', 'jam', 'kit', 'log', 'map', 'nut', 'owl', 'pen', 'rug'];
/** Enough stop ids that a random teacher ends some of its answers. */
const STOP_IDS = [2, ...Array.from({ length: 40 }, (_, index) => 40 + index)];

const spec = parseSpec({
  model: 'student',
  training_file: 'train.jsonl',
  validation_file: 'heldout.jsonl',
  seed: 7,
  suffix: 'tiny',
  method: {
    type: 'distillation',
    distillation: {
      teacher: { dialect: 'vllm', base_url: 'http://teacher.test', model: 'tiny' },
      targets: { top_k: 16 },
      collect: { samples_per_prompt: 2, max_tokens: 8 },
      distill: { epochs: 4, loss_tokens_per_step: 50, learning_rate: 1e-2 },
      align: { steps: 6, prompts_per_step: 3, max_tokens: 8, learning_rate: 2e-3 },
      evaluate: { prompts: 4, max_tokens: 8 },
      micro_batch_tokens: 128,
      checkpoint_every: { steps: 2 },
    },
  },
});

/** The tiny run's spec with some fields of `method.distillation` changed. */
export function tinySpec(change: Partial<DistillationSpec> = {}): Spec {
  return { ...spec, method: { ...spec.method, distillation: { ...spec.method.distillation, ...change } } };
}

/** What an attempt on a directory may do otherwise. */
export type AttemptOptions = { readonly out: string; readonly epoch: number } & Partial<Pick<RunContext, 'spec' | 'teacher' | 'openEngine' | 'runInterchange' | 'onEvent'>>;

/** A context of its own for one attempt: what it told, and the teacher it asked unless it was given another. */
export interface Attempt {
  readonly context: RunContext;
  readonly events: RunEvent[];
  readonly teacher: EngineTeacher;
}

/** Runs the ONNX model in this thread: a thread of its own would need the compiled tree. */
export const runHere: RunContext['runInterchange'] = async ({ modelPath, threads, tasks }) => {
  const session = await InterchangeSession.open(modelPath, threads);
  const results = [];
  for (const task of tasks) results.push(await session.run(task));
  await session.close();
  return results;
};

/** The prompts `WORDS[from..to)`, as a prompt file has them. */
export function tinyPrompts(from: number, to?: number): RunContext['trainingPrompts'] {
  return parsePrompts(WORDS.slice(from, to).map((word) => JSON.stringify({ messages: [{ role: 'user', content: word }] })).join('\n'), 'prompts.jsonl');
}

/** A student, a teacher and prompts small enough for the reference engine, in a directory of their own. */
export class TinyRun {
  private constructor(
    readonly home: string,
    readonly inputs: Pick<RunContext, 'modelDir' | 'tokenizer' | 'template' | 'trainingPrompts' | 'validationPrompts'>,
    private readonly teacherEngine: ReferenceEngine,
  ) {}

  static async lay(): Promise<TinyRun> {
    const home = await mkdtemp(join(tmpdir(), 'run-'));
    const modelDir = await writeTinyModel(join(home, 'start'), { seed: 2, layers: 1 });
    await writeFile(join(modelDir, 'generation_config.json'), JSON.stringify({ bos_token_id: 1, eos_token_id: STOP_IDS, pad_token_id: 2 }));
    const teacherEngine = await ReferenceEngine.open(await writeTinyModel(join(home, 'teacher'), { seed: 1 }));
    const tokenizer = await Tokenizer.load(modelDir);
    const inputs = { modelDir, tokenizer, template: await ChatTemplate.load(modelDir), trainingPrompts: tinyPrompts(0, 12), validationPrompts: tinyPrompts(12) };
    return new TinyRun(home, inputs, teacherEngine);
  }

  attempt({ out, epoch, onEvent, ...change }: AttemptOptions): Attempt {
    const events: RunEvent[] = [];
    const teacher = new EngineTeacher({ engine: this.teacherEngine, tokenizer: this.inputs.tokenizer });
    let ms = 0;
    const context: RunContext = {
      spec,
      ...this.inputs,
      store: new DirectoryStore(join(this.home, out)),
      teacher,
      openEngine: (dir) => ReferenceEngine.open(dir),
      runInterchange: runHere,
      clock: () => (ms += 5),
      onEvent: (event) => {
        events.push(event);
        onEvent?.(event);
      },
      epoch,
      ...change,
    };
    return { context, events, teacher };
  }

  remove(): Promise<void> {
    return rm(this.home, { recursive: true, force: true });
  }
}

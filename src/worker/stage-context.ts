import { readFile, statfs } from 'node:fs/promises';
import { freemem } from 'node:os';
import { Inject, Injectable } from '@nestjs/common';
import type { WorkerSettings } from '../config/service-settings.js';
import { WORKER_SETTINGS } from '../config/tokens.js';
import type { RunEvent } from '../distillation/events.js';
import { parsePrompts, type ChatPrompt } from '../distillation/prompts.js';
import type { RunContext } from '../distillation/run.js';
import { parseServiceSpec, resolveServiceSpec } from '../distillation/spec.js';
import type { RunStore } from '../distillation/store.js';
import type { Engine } from '../engine/engine.js';
import { ChatTemplate } from '../model-files/chat-template.js';
import { readModelConfig } from '../model-files/config.js';
import { Tokenizer } from '../model-files/tokenizer.js';
import { PromptSetService } from '../prompt-sets/prompt-sets.service.js';
import type { StageTask } from '../runs/stage-ledger.service.js';
import { StudentService } from '../students/students.service.js';
import { VllmTeacherClient } from '../teacher-clients/vllm/vllm-teacher-client.js';
import { TeacherService } from '../teachers/teacher.service.js';
import { StageTools } from './stage-tools.js';

/** What a stage stands in: the claim's parts of its context. */
export interface StageSurroundings {
  readonly store: RunStore;
  readonly epoch: number;
  readonly onEvent: (event: RunEvent) => void;
  /** Fires when engines are to be killed. */
  readonly killSignal: AbortSignal;
}

/** A stage's context; `close` lets the teacher go. */
export interface OpenContext {
  readonly context: RunContext;
  close(): Promise<void>;
}

/** Turns the ids a run names into everything the core needs. */
@Injectable()
export class StageContexts {
  constructor(
    private readonly students: StudentService,
    private readonly promptSets: PromptSetService,
    private readonly teachers: TeacherService,
    private readonly tools: StageTools,
    @Inject(WORKER_SETTINGS) private readonly settings: WorkerSettings,
  ) {}

  /** @throws AppError when something the run names is gone, damaged, or no longer allowed. */
  async open(task: StageTask, { store, epoch, onEvent, killSignal }: StageSurroundings): Promise<OpenContext> {
    const modelDir = await this.students.directory(task.model);
    const training = await this.promptSets.path(task.trainingFile);
    const validation = await this.promptSets.path(task.validationFile);
    const { vocabSize } = await readModelConfig(modelDir); // rows of the embedding, padded ones included: the student can read every id below
    const inputs = {
      tokenizer: await Tokenizer.load(modelDir),
      template: await ChatTemplate.load(modelDir),
      trainingPrompts: await this.prompts(training, task.trainingFile),
      validationPrompts: await this.prompts(validation, task.validationFile),
    };
    const { baseUrl, model, apiKey, dispatcher } = await this.teachers.connection(task.teacherId);
    const named = { model: modelDir, training_file: training, validation_file: validation, teacher: { base_url: baseUrl, model } };
    const teacher = new VllmTeacherClient({ baseUrl, model, vocabSize, apiKey, dispatcher });
    const context: RunContext = {
      ...inputs,
      spec: resolveServiceSpec(parseServiceSpec(task.spec), named),
      store,
      modelDir,
      teacher,
      openEngine: (dir) => this.openEngine(dir, { onEvent, killSignal }),
      runInterchange: this.tools.runInterchange,
      clock: () => performance.now(),
      freeMemoryBytes: freemem(),
      freeDiskBytes: await this.freeDiskBytes(),
      onEvent,
      epoch,
    };
    return { context, close: () => teacher.close() };
  }

  private async prompts(path: string, id: string): Promise<ChatPrompt[]> {
    return parsePrompts(await readFile(path, 'utf8'), id);
  }

  private async freeDiskBytes(): Promise<number> {
    const { bavail, bsize } = await statfs(this.settings.storeDir);
    return bavail * bsize;
  }

  private async openEngine(modelDir: string, { onEvent, killSignal }: Pick<StageSurroundings, 'onEvent' | 'killSignal'>): Promise<Engine> {
    const { engine: implementation, threads } = this.settings;
    const engine = await this.tools.openEngine({ modelDir, implementation, threads, onWarning: (message) => onEvent({ kind: 'warning', message }) });
    const kill = (): void => void engine.close();
    if (killSignal.aborted) kill();
    killSignal.addEventListener('abort', kill, { once: true });
    return engine;
  }
}

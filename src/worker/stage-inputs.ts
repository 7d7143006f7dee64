import { readFile } from 'node:fs/promises';
import { Injectable } from '@nestjs/common';
import { parsePrompts, type ChatPrompt } from '../distillation/prompts.js';
import type { RunContext } from '../distillation/run.js';
import { parseServiceSpec, resolveServiceSpec } from '../distillation/spec.js';
import { ChatTemplate } from '../model-files/chat-template.js';
import { readModelConfig } from '../model-files/config.js';
import { Tokenizer } from '../model-files/tokenizer.js';
import { PromptSetService } from '../prompt-sets/prompt-sets.service.js';
import type { StageTask } from '../runs/stage-ledger.service.js';
import { StudentService } from '../students/students.service.js';
import { StageTeachers, type TeacherAsking } from './stage-teachers.js';

/** What the ids of a task stand for. */
export type OpenInputs = Pick<RunContext, 'spec' | 'modelDir' | 'tokenizer' | 'template' | 'trainingPrompts' | 'validationPrompts' | 'teacher'>;

/** Opens what a run names. */
@Injectable()
export class StageInputs {
  constructor(
    private readonly students: StudentService,
    private readonly promptSets: PromptSetService,
    private readonly teachers: StageTeachers,
  ) {}

  /** The caller closes the teacher. @throws AppError when something the run names is gone, damaged, or no longer allowed. */
  async open({ model: name, trainingFile, validationFile, teacherId, spec }: StageTask, asking: TeacherAsking): Promise<OpenInputs> {
    const modelDir = await this.students.directory(name);
    const training = await this.promptSets.path(trainingFile);
    const validation = await this.promptSets.path(validationFile);
    const { vocabSize } = await readModelConfig(modelDir); // rows of the embedding, padded ones included: the student can read every id below
    const inputs = {
      modelDir,
      tokenizer: await Tokenizer.load(modelDir),
      template: await ChatTemplate.load(modelDir),
      trainingPrompts: await promptsIn(training, trainingFile),
      validationPrompts: await promptsIn(validation, validationFile),
    };
    const { baseUrl, model, teacher } = await this.teachers.open(teacherId, { asking, vocabSize });
    const named = { model: modelDir, training_file: training, validation_file: validation, teacher: { base_url: baseUrl, model } };
    return { ...inputs, spec: resolveServiceSpec(parseServiceSpec(spec), named), teacher };
  }
}

async function promptsIn(path: string, id: string): Promise<ChatPrompt[]> {
  return parsePrompts(await readFile(path, 'utf8'), id);
}

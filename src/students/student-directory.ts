import { AppError } from '../common/errors.js';
import { ChatTemplate } from '../model-files/chat-template.js';
import { ModelDirectory } from '../model-files/model-directory.js';
import { parameterCount } from '../model-files/parameters.js';
import { Tokenizer } from '../model-files/tokenizer.js';
import { checkConfigKeys } from './config-keys.js';
import { ModelRefused } from './students.errors.js';

/** What a model directory turned out to hold. */
export interface StudentNature {
  readonly architecture: string;
  readonly parameters: number;
}

/** Opens everything a run will need of a model: configuration, headers of the weights, tokenizer, chat template. @throws ModelRefused */
export async function openStudent(dir: string): Promise<StudentNature> {
  try {
    const model = await ModelDirectory.open(dir);
    await model.close();
    await checkConfigKeys(dir);
    await Tokenizer.load(dir);
    await ChatTemplate.load(dir);
    return { architecture: model.config.architecture, parameters: parameterCount(model.config) };
  } catch (cause) {
    throw withoutPlace(cause, dir);
  }
}

/** The same refusal without the place on our disk, which is nobody's business. */
export function withoutPlace(cause: unknown, dir: string): unknown {
  if (!(cause instanceof AppError) || cause.kind === 'unavailable' || cause.kind === 'bug') return cause;
  return new ModelRefused(cause, cause.message.replaceAll(`${dir}/`, '').replaceAll(dir, 'the model'));
}

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

/** Words, digits, accents, another script and blanks: every branch of the usual patterns. */
const PROBE = "Hello, world! It's 12345.6 degrees – naïve 漢字.\n\n\tx  y";

/** Opens everything a run will need of a model, and uses it once: configuration, headers of the weights, tokenizer, chat template. @throws ModelRefused */
export async function openStudent(dir: string): Promise<StudentNature> {
  try {
    const model = await ModelDirectory.open(dir);
    await model.close();
    await checkConfigKeys(dir);
    const [tokenizer, template] = [await Tokenizer.load(dir), await ChatTemplate.load(dir)];
    tokenizer.encode(template.render([{ role: 'user', content: PROBE }], { addGenerationPrompt: 'add' }));
    return { architecture: model.config.architecture, parameters: parameterCount(model.config) };
  } catch (cause) {
    throw withoutPlace(cause, dir);
  }
}

/** The same refusal without the place on our disk, which is nobody's business. */
export function withoutPlace(cause: unknown, dir: string): unknown {
  if (!(cause instanceof AppError) || cause.kind === 'bug') return cause;
  const { code, kind, message } = cause;
  return new ModelRefused({ code, kind, message: message.replaceAll(`${dir}/`, '').replaceAll(dir, 'the model') }, { cause });
}

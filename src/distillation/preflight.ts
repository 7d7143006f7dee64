import type { EngineInfo } from '../engine/engine.js';
import type { ModelConfig } from '../model-files/config.js';
import type { TeacherCapabilities, TeacherClient } from '../teacher-clients/teacher-client.js';
import type { RunTemplate, RunTokenizer } from './text.js';
import { PreflightFailed } from './distillation.errors.js';
import { PROBE_TEXT } from './identity.js';
import { foreseeDisk } from './foresight.js';
import { longestPrompt, type RenderedPrompt } from './prompts.js';
import type { Spec } from './spec.js';

/** The outcome of one check; one that fails throws `PreflightFailed` instead. */
export interface Check {
  readonly name: string;
  readonly verdict: 'passed' | 'warned';
  readonly found: string;
}

/** What the checks look at. */
export interface Subject {
  readonly spec: Spec;
  readonly config: ModelConfig;
  readonly tokenizer: RunTokenizer;
  readonly template: RunTemplate;
  readonly training: readonly RenderedPrompt[];
  readonly heldOut: readonly RenderedPrompt[];
  readonly freeMemoryBytes?: number;
  readonly freeDiskBytes?: number;
}

/** Checks that need neither teacher nor engine. @throws PreflightFailed */
export function checkInputs(subject: Subject): Check[] {
  return [checkHeldOut(subject), checkVocabulary(subject), checkStopIds(subject), checkStudentLength(subject), checkDisk(subject)];
}

/** Checks that ask the teacher. @throws PreflightFailed, and what the client throws when the teacher is down, other, or grants fewer ids. */
export async function checkTeacher(subject: Subject, teacher: TeacherClient, signal?: AbortSignal): Promise<{ checks: Check[]; capabilities: TeacherCapabilities }> {
  const { top_k } = subject.spec.method.distillation.targets;
  const capabilities = await teacher.probe(top_k, signal);
  const granted: Check = { name: 'teacher', verdict: 'passed', found: `${capabilities.model} answers and grants ${top_k} ids a position` };
  const checks = [granted, checkTeacherLength(subject, capabilities), checkRepeatability(capabilities), await checkTokenizers(subject, teacher, signal)];
  return { checks, capabilities };
}

/** Checks that the engine can do what the spec asks. @throws PreflightFailed */
export function checkEngine({ spec, config }: Subject, info: EngineInfo): Check[] {
  const { distill, align } = spec.method.distillation;
  const absent = [distill.loss.kind, align.loss.kind].filter((kind) => info.losses[kind] === 'absent');
  if (absent.length > 0) throw new PreflightFailed('losses', `the ${info.implementation} engine has no loss ${absent.join(', ')}`, `choose among ${Object.keys(info.losses).join(', ')}`);
  if (info.vocabSize !== config.vocabSize) {
    throw new PreflightFailed('engine', `the engine opened a model of ${info.vocabSize} ids, the directory's has ${config.vocabSize}`, 'open the engine on the same directory');
  }
  return [{ name: 'losses', verdict: 'passed', found: `the ${info.implementation} engine has ${distill.loss.kind} and ${align.loss.kind}` }];
}

function checkHeldOut({ spec, heldOut }: Subject): Check {
  const { prompts } = spec.method.distillation.evaluate;
  if (heldOut.length < prompts) {
    throw new PreflightFailed('held-out prompts', `${spec.validation_file} holds ${heldOut.length} prompts, evaluate.prompts asks for ${prompts}`, 'lower evaluate.prompts or add prompts');
  }
  return { name: 'held-out prompts', verdict: 'passed', found: `${prompts} of ${heldOut.length}` };
}

function checkVocabulary({ config, tokenizer }: Subject): Check {
  if (tokenizer.vocabSize > config.vocabSize) {
    throw new PreflightFailed('vocabulary', `the tokenizer knows ${tokenizer.vocabSize} ids, the model has rows for ${config.vocabSize}`, 'use the tokenizer the model was trained with');
  }
  return { name: 'vocabulary', verdict: 'passed', found: `${tokenizer.vocabSize} ids in ${config.vocabSize} rows` };
}

/** The end of an assistant's turn in the template must be in the model's set, or no answer ever ends. */
function checkStopIds({ config, tokenizer, template }: Subject): Check {
  const { eosIds } = config;
  const remedy = 'put the id into eos_token_id of generation_config.json';
  if (eosIds.length === 0) throw new PreflightFailed('stop ids', 'neither config.json nor generation_config.json has an eos_token_id', remedy);
  const marker = 'ANSWER';
  const rendered = template.render([{ role: 'user', content: 'question' }, { role: 'assistant', content: marker }], { addGenerationPrompt: 'omit' });
  const [end] = tokenizer.encode(rendered.slice(rendered.lastIndexOf(marker) + marker.length));
  if (end === undefined) return { name: 'stop ids', verdict: 'warned', found: 'the chat template puts nothing behind an answer; ends cannot be learnt from it' };
  if (!eosIds.includes(end)) throw new PreflightFailed('stop ids', `the chat template ends an answer with id ${end}, which is not among the model's stop ids ${eosIds.join(', ')}`, remedy);
  return { name: 'stop ids', verdict: 'passed', found: eosIds.join(', ') };
}

/** Longest sequence that the run can make, prompt and completion together. */
function longestSequence({ spec, training, heldOut }: Subject): number {
  const { collect, align, evaluate } = spec.method.distillation;
  return Math.max(longestPrompt(training) + Math.max(collect.max_tokens, align.max_tokens), longestPrompt(heldOut.slice(0, evaluate.prompts)) + evaluate.max_tokens);
}

function checkStudentLength(subject: Subject): Check {
  const needed = longestSequence(subject);
  const { maxPositions } = subject.config;
  if (needed > maxPositions) {
    throw new PreflightFailed('student length', `prompts and answers reach ${needed} tokens, the student has ${maxPositions} positions`, 'lower max_tokens or shorten the prompts');
  }
  return { name: 'student length', verdict: 'passed', found: `${needed} of ${maxPositions} tokens` };
}

function checkTeacherLength(subject: Subject, { maxLength }: TeacherCapabilities): Check {
  const needed = longestSequence(subject);
  if (needed > maxLength) {
    throw new PreflightFailed('teacher length', `prompts and answers reach ${needed} tokens, the teacher takes ${maxLength}`, 'lower max_tokens, or serve the teacher with a longer context');
  }
  return { name: 'teacher length', verdict: 'passed', found: `${needed} of ${maxLength} tokens` };
}

function checkRepeatability({ repeatable }: TeacherCapabilities): Check {
  if (repeatable) return { name: 'teacher repeatability', verdict: 'passed', found: 'the same sequence scored twice gave the same bits' };
  return { name: 'teacher repeatability', verdict: 'warned', found: 'the same sequence scored twice gave other bits; a resumed run is exact only for replies already kept' };
}

function checkDisk({ spec, config, freeDiskBytes, training }: Subject): Check {
  const needed = foreseeDisk({ spec, config, prompts: training.length });
  const gib = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(2)} GiB`;
  if (freeDiskBytes === undefined) return { name: 'disk', verdict: 'warned', found: `about ${gib(needed)} are needed; how much is free is unknown here` };
  if (needed > freeDiskBytes) throw new PreflightFailed('disk', `about ${gib(needed)} are needed and ${gib(freeDiskBytes)} are free`, 'free some space, or put the run on a larger disk');
  return { name: 'disk', verdict: 'passed', found: `about ${gib(needed)} of ${gib(freeDiskBytes)} free` };
}

/** Equal ids for a probe text and for every added token: equal sizes alone prove nothing (peers reference 2, items 1 and 2). */
async function checkTokenizers({ tokenizer }: Subject, teacher: TeacherClient, signal?: AbortSignal): Promise<Check> {
  const text = `${PROBE_TEXT}${[...tokenizer.addedTokens.keys()].join(' a ')}`;
  const theirs = await teacher.tokenize(text, signal);
  if (theirs === undefined) return { name: 'tokenizers', verdict: 'warned', found: 'the teacher has no route to ask; make sure both have the same tokenizer' };
  const ours = tokenizer.encode(text);
  const at = ours.findIndex((id, place) => id !== theirs[place]);
  if (at >= 0 || ours.length !== theirs.length) {
    const place = at < 0 ? ours.length : at;
    const seen = tokenizer.decode(ours.subarray(Math.max(0, place - 3), place + 2), { skipSpecial: 'keep' });
    throw new PreflightFailed(
      'tokenizers',
      `student and teacher give other ids from token ${place} of the probe on, near ${JSON.stringify(seen)} (student ${ours[place] ?? 'ends'}, teacher ${theirs[place] ?? 'ends'})`,
      'choose a student with the tokenizer of the teacher',
    );
  }
  return { name: 'tokenizers', verdict: 'passed', found: `equal ids on a probe text and ${tokenizer.addedTokens.size} added tokens` };
}

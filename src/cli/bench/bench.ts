import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { Argument, type Command, InvalidArgumentError } from 'commander';
import { AppError } from '../../common/errors.js';
import { ArgumentInvalid } from '../failure.js';
import { writeJson } from '../json-file.js';
import { stopOnSignal } from '../stop.js';
import { chosen, titleOf, type Scope } from './case.js';
import { CASES } from './cases.js';
import { figureLine, figureTable, type Figure } from './figure.js';
import { measureIdleTeacher } from './idle-teacher.js';
import { lastCacheBytes } from './last-cache.js';
import { CaseFailed, measureCase } from './measuring-process.js';
import { RandomModels } from './random-models.js';
import { measureService } from './service/service.js';

/** Some rows could not be measured; the others were. */
class RowsMissing extends AppError {
  readonly code = 'bench.rows_missing';
  readonly kind = 'unavailable';
}

interface BenchOptions {
  readonly json?: string;
  readonly only?: string;
  readonly full: boolean;
  readonly trial: boolean;
  readonly rounds: number;
  readonly model: string;
}

/** What a memory probe passes over: several times the last cache, except where the figures say nothing anyway. */
function probedBytes(scope: Scope): number {
  return scope === 'trial' ? 2 ** 20 : Math.max(3 * 2 ** 28, 4 * lastCacheBytes());
}

/** `bench`: each figure beside the machine's own limit, measured in the same run. */
export function addBenchCommand(program: Command): void {
  program
    .command('bench')
    .addArgument(new Argument('[part]', 'what to measure').choices(['engine', 'service', 'teacher']).default('engine'))
    .option('--json <file>', 'also write the figures as JSON into the file')
    .option('--only <word>', 'engine: rows whose name or shape contains the word')
    .option('--full', 'engine: every model, length and batch size (hours) instead of the gates and a choice', false)
    .option('--trial', 'engine: every measurement at a size that says nothing, to see that it runs (seconds)', false)
    .option('--rounds <n>', 'engine: turns of ours and the limit; a ratio is that of their medians', positiveInteger, 5)
    .option('--model <dir>', 'teacher: a Hugging Face directory with its tokenizer', join('.limbeck', 'demo', 'smollm2-135m-instruct'))
    .description("measure the engine beside the machine's own limits, the service beside plain pg, or decoding beside an idle teacher")
    .action(async (part: 'engine' | 'service' | 'teacher', options: BenchOptions) => {
      if (part === 'service') return report(await measureService(sayAside), options.json);
      if (part === 'teacher') return report(await measureIdleTeacher(options.model), options.json);
      const { figures, failures } = await measureEngine(options);
      await report(figures, options.json);
      if (failures.length > 0) throw new RowsMissing(`not measured:\n${failures.join('\n')}`);
    });
}

async function report(figures: readonly Figure[], json: string | undefined): Promise<void> {
  process.stdout.write(`${figureTable(figures)}\n`);
  await writeJson(json, figures);
}

async function measureEngine(options: BenchOptions): Promise<{ figures: Figure[]; failures: string[] }> {
  const scope = options.trial ? 'trial' : options.full ? 'full' : 'standard';
  const cases = chosen(CASES, { ...options, scope });
  if (cases.length === 0) throw new ArgumentInvalid(`no row of this scope contains "${options.only}"; there are ${[...new Set(chosen(CASES, { scope }).map(({ name }) => name))].join('; ')}`);
  const signal = stopOnSignal('stopping; the random weights are removed');
  const models = new RandomModels();
  const figures: Figure[] = [];
  const failures: string[] = [];
  try {
    for (const entry of cases) {
      sayAside(`measuring ${titleOf(entry)}`);
      try {
        const modelDir = await models.dirOf(entry);
        const measured = await measureCase(entry, { threads: availableParallelism(), rounds: options.rounds, modelDir, probedBytes: probedBytes(scope) }, signal);
        figures.push(...measured);
        for (const row of measured) sayAside(figureLine(row));
      } catch (error) {
        if (!(error instanceof CaseFailed)) throw error;
        sayAside(error.message);
        failures.push(error.message);
      }
    }
  } finally {
    await models.remove();
  }
  return { figures, failures };
}

function positiveInteger(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('it must be an integer >= 1');
  return value;
}

function sayAside(line: string): void {
  process.stderr.write(`${line}\n`);
}

import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { Argument, type Command } from 'commander';
import { openStudentEngine } from '../job.js';
import { humanProgress } from '../progress.js';
import { ArgumentInvalid } from '../failure.js';
import { measureDecode } from './decode.js';
import { figureTable, type Figure } from './figure.js';
import { measureProducts } from './products.js';
import { measureService } from './service/service.js';
import { measureTrainStep } from './train-step.js';

/** `bench`: each figure beside the machine's own limit, measured in the same run. */
export function addBenchCommand(program: Command): void {
  program
    .command('bench')
    .addArgument(new Argument('[part]', 'what to measure').choices(['engine', 'service']).default('engine'))
    .option('--model <dir>', 'a Hugging Face directory', join('.limbeck', 'demo', 'smollm2-135m-instruct'))
    .option('--json <file>', 'also write the figures as JSON into the file')
    .description("measure the engine beside the machine's own limits, or the service beside plain pg")
    .action(async (part: 'engine' | 'service', { model, json }: { model: string; json?: string }) => {
      const figures = part === 'service' ? await measureService(sayAside) : await measureEngine(model);
      process.stdout.write(`${figureTable(figures)}\n`);
      if (json !== undefined) await writeFile(json, `${JSON.stringify(figures, null, 2)}\n`);
    });
}

function sayAside(line: string): void {
  process.stderr.write(`${line}\n`);
}

async function measureEngine(modelDir: string): Promise<Figure[]> {
  if (!existsSync(modelDir)) throw new ArgumentInvalid(`there is no model at ${modelDir}; run the demo once, or name a directory with --model`);
  const products = measureProducts(availableParallelism());
  const engine = await openStudentEngine(modelDir, humanProgress());
  try {
    const best = Math.max(...products.map(({ value }) => value));
    return [...products, await measureTrainStep(engine, modelDir, best), ...(await measureDecode(engine, modelDir))];
  } finally {
    await engine.close();
  }
}

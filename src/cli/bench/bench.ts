import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { openStudentEngine } from '../job.js';
import { humanProgress } from '../progress.js';
import { ArgumentInvalid } from '../failure.js';
import { measureDecode } from './decode.js';
import type { Figure } from './figure.js';
import { measureProducts } from './products.js';
import { measureTrainStep } from './train-step.js';

/** `bench`: each figure beside the machine's own limit, measured in the same run. */
export function addBenchCommand(program: Command): void {
  program
    .command('bench')
    .option('--model <dir>', 'a Hugging Face directory of Llama architecture', join('.limbeck', 'demo', 'smollm2-135m-instruct'))
    .option('--json <file>', 'also write the figures as JSON into the file')
    .description("measure the engine beside the machine's own limits")
    .action(async ({ model, json }: { model: string; json?: string }) => {
      if (!existsSync(model)) throw new ArgumentInvalid(`there is no model at ${model}; run the demo once, or name a directory with --model`);
      const figures = await measure(model);
      process.stdout.write(`${figureTable(figures)}\n`);
      if (json !== undefined) await writeFile(json, `${JSON.stringify(figures, null, 2)}\n`);
    });
}

async function measure(modelDir: string): Promise<Figure[]> {
  const products = measureProducts(availableParallelism());
  const engine = await openStudentEngine(modelDir, humanProgress());
  try {
    const best = Math.max(...products.map(({ value }) => value));
    return [...products, await measureTrainStep(engine, modelDir, best), ...(await measureDecode(engine, modelDir))];
  } finally {
    await engine.close();
  }
}

function figureTable(figures: readonly Figure[]): string {
  const lines = figures.map(({ name, shape, value, unit, limit, share }) => `| ${name} | ${shape} | ${value.toFixed(1)} ${unit} | ${limit.toFixed(1)} ${unit} | ${share.toFixed(3)} |`);
  return ['| figure | shape | value | limit | share |', '| --- | --- | ---: | ---: | ---: |', ...lines].join('\n');
}

import { join } from 'node:path';
import type { Command } from 'commander';
import { studyLayers } from './layers.js';
import { studyRates } from './rates.js';

const TEACHER = join('.limbeck', 'demo', 'smollm2-135m-instruct');

/** `study …`: the measurements behind the demo's choices; their tables stand in `src/cli/demo/README.md`. */
export function addStudyCommands(program: Command): void {
  const study = program.command('study').description("measure what the demo's choices rest on");
  study
    .command('layers')
    .option('--teacher <dir>', 'the model to take layers from', TEACHER)
    .description('which layers a student can lose: one-layer ablation, then students of 28 to 15 layers')
    .action(async ({ teacher }: { teacher: string }) => void process.stdout.write(`${await studyLayers(teacher)}\n`));
  study
    .command('rates')
    .option('--teacher <dir>', 'the teacher, from which the student is pruned too', TEACHER)
    .option('--out <dir>', 'where the runs go', join('.limbeck', 'rates'))
    .description('three learning rates of each training stage, all else as in the demo')
    .action(async (flags: { teacher: string; out: string }) => void process.stdout.write(`${await studyRates(flags)}\n`));
}

import type { Command } from 'commander';
import { defaultOutDir, runJob } from './job.js';
import { writeJson } from './json-file.js';
import { humanProgress, jsonProgress } from './progress.js';
import { resultTable, stageTable } from './result-table.js';
import { stopOnSignal } from './stop.js';

interface DistillFlags {
  readonly out?: string;
  readonly resume?: true;
  readonly controls?: true;
  readonly json?: string | true;
}

/** `distill job.yaml`: one run, no service. */
export function addDistillCommand(program: Command): void {
  program
    .command('distill')
    .argument('<job>', 'the job, a YAML file')
    .option('--out <dir>', "the run's directory (default: runs/<job's name>)")
    .option('--resume', 'go on with the run in the directory, from its last checkpoint')
    .option('--controls', 'also train the hard-label control and score the unigram control')
    .option('--json [file]', 'the report as JSON into the file; without a file, every event as a JSON line on standard output')
    .description('run one distillation job from here')
    .action(async (job: string, flags: DistillFlags) => {
      const outDir = flags.out ?? defaultOutDir(job);
      const report = await runJob({
        jobFile: job,
        outDir,
        resume: flags.resume ? 'resume' : 'fresh',
        controls: flags.controls ? 'all' : 'as_specified',
        view: flags.json === true ? jsonProgress() : humanProgress(),
        signal: stopOnSignal(`stops at the next step with a checkpoint; go on with: limbeck distill ${job} --out ${outDir} --resume`),
      });
      if (typeof flags.json === 'string') await writeJson(flags.json, report);
      if (flags.json === true) process.stdout.write(`${JSON.stringify({ kind: 'report', report })}\n`);
      else process.stdout.write(`${resultTable(report)}\n\n${stageTable(report.stages)}\n\nstudent: ${report.student_dir}\n`);
    });
}

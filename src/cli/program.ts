import { Command } from 'commander';

type AddCommands = (program: Command) => void;

/** By the first word of a command line, what adds it to a program. Each is loaded for itself: all together take some two seconds of a core. */
const COMMANDS: Readonly<Record<string, () => Promise<AddCommands>>> = {
  demo: async () => (await import('./demo/demo.js')).addDemoCommand,
  distill: async () => (await import('./distill.js')).addDistillCommand,
  up: async () => (await import('./up.js')).addUpCommand,
  migrate: async () => (await import('./migrate.js')).addMigrateCommand,
  keys: async () => (await import('./keys.js')).addKeyCommands,
  gc: async () => (await import('./gc.js')).addGcCommand,
  teacher: async () => (await import('./teacher.js')).addTeacherCommands,
  models: async () => (await import('./models.js')).addModelCommands,
  files: async () => (await import('./files.js')).addFileCommands,
  submit: addsJobs,
  watch: addsJobs,
  jobs: addsJobs,
  bench: async () => (await import('./bench/bench.js')).addBenchCommand,
  'bench-peers': async () => (await import('./bench/peers/peers.js')).addPeersCommand,
  study: async () => (await import('./study/study.js')).addStudyCommands,
};

async function addsJobs(): Promise<AddCommands> {
  return (await import('./jobs.js')).addJobCommands;
}

/** The command line that begins with this word, whole if no command does, as when help is asked for; its actions throw `AppError`s and leave exit statuses to the caller. */
export async function buildProgram(firstWord?: string): Promise<Command> {
  const program = new Command('limbeck').description('distils a strong language model behind a teacher server into a small student').showHelpAfterError();
  const named = firstWord !== undefined && Object.hasOwn(COMMANDS, firstWord) ? [COMMANDS[firstWord]] : Object.values(COMMANDS);
  for (const add of await Promise.all([...new Set(named)].map((load) => load()))) add(program);
  return program;
}

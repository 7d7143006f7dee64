import { Command } from 'commander';
import { addBenchCommand } from './bench/bench.js';
import { addPeersCommand } from './bench/peers/peers.js';
import { addDemoCommand } from './demo/demo.js';
import { addDistillCommand } from './distill.js';
import { addFileCommands } from './files.js';
import { addGcCommand } from './gc.js';
import { addJobCommands } from './jobs.js';
import { addKeyCommands } from './keys.js';
import { addMigrateCommand } from './migrate.js';
import { addModelCommands } from './models.js';
import { addStudyCommands } from './study/study.js';
import { addTeacherCommands } from './teacher.js';
import { addUpCommand } from './up.js';

/** The whole command line; its actions throw `AppError`s and leave exit statuses to the caller. */
export function buildProgram(): Command {
  const program = new Command('limbeck').description('distils a strong language model behind a teacher server into a small student').showHelpAfterError();
  addDemoCommand(program);
  addDistillCommand(program);
  addUpCommand(program);
  addMigrateCommand(program);
  addKeyCommands(program);
  addGcCommand(program);
  addTeacherCommands(program);
  addModelCommands(program);
  addFileCommands(program);
  addJobCommands(program);
  addBenchCommand(program);
  addPeersCommand(program);
  addStudyCommands(program);
  return program;
}

// Loaded before a process's own code (`node --import`): an engine that receives the call which the order file names kills its host and then itself, in the middle
// of the step. The order is one line of JSON `{method}`; it is carried out once, and its file is replaced by `<file>.done`.
import { existsSync, readFileSync, renameSync } from 'node:fs';
import { createRequire, syncBuiltinESMExports } from 'node:module';

const { KILL_IN_STEP, NODE_OPTIONS } = process.env;

function carryOut(message) {
  if (message?.kind !== 'call' || !existsSync(KILL_IN_STEP)) return;
  const { method } = JSON.parse(readFileSync(KILL_IN_STEP, 'utf8'));
  if (message.call.method !== method) return;
  renameSync(KILL_IN_STEP, `${KILL_IN_STEP}.done`);
  setImmediate(() => {
    process.kill(process.ppid, 'SIGKILL');
    process.kill(process.pid, 'SIGKILL');
  });
}

if (KILL_IN_STEP) {
  if (process.argv[1]?.includes('main.engine')) {
    const { emit } = process;
    process.emit = function (name, ...args) {
      const heard = emit.call(this, name, ...args); // the step begins
      if (name === 'message') carryOut(args[0]);
      return heard;
    };
  }
  const processes = createRequire(import.meta.url)('node:child_process');
  const { fork } = processes;
  processes.fork = (entry, args, options) => fork(entry, args, { ...options, env: { ...(options?.env ?? process.env), KILL_IN_STEP, NODE_OPTIONS } });
  syncBuiltinESMExports();
}

// Loaded before a process's own code (`node --import`): kills the process at the call that KILL_AT_BOUNDARY names, once for all processes that share its
// marker file, and hands itself on to the processes that this one forks.
import { existsSync, writeFileSync } from 'node:fs';
import { createRequire, syncBuiltinESMExports } from 'node:module';
import { watchFileCalls } from './file-calls.mjs';

const require = createRequire(import.meta.url);
const { KILL_AT_BOUNDARY, NODE_OPTIONS } = process.env;

if (KILL_AT_BOUNDARY) {
  const { call, path, when, nth, marker } = JSON.parse(KILL_AT_BOUNDARY);
  const pattern = new RegExp(path);
  let seen = 0;
  await watchFileCalls((made) => {
    if (made.call !== call || made.when !== when || !pattern.test(made.path) || ++seen !== nth || existsSync(marker)) return;
    writeFileSync(marker, made.path);
    process.kill(process.pid, 'SIGKILL');
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0); // nothing more happens here, however late the signal comes
  });
  const processes = require('node:child_process');
  const { fork } = processes;
  processes.fork = (entry, args, options) => fork(entry, args, { ...options, env: { ...(options?.env ?? process.env), KILL_AT_BOUNDARY, NODE_OPTIONS } });
  syncBuiltinESMExports();
}

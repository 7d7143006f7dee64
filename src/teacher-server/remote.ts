import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { computeThreadVariables } from '../common/compute-threads.js';
import type { RemoteCall, RemoteReply } from './remote-protocol.js';

/** The thread or process that runs the model. */
export interface Remote {
  post(call: RemoteCall): void;
  onReply(listener: (reply: RemoteReply) => void): void;
  /** The listener is told once, after the last reply, how it ended. */
  onEnd(listener: (how: string) => void): void;
}

/** Starts a thread. @param entry a compiled module that calls `serveSession`. */
export function startThread(entry: URL): Remote {
  const worker = new Worker(entry);
  return {
    post: (call) => worker.postMessage(call),
    onReply: (listener) => void worker.on('message', listener),
    onEnd: (listener) => {
      worker.once('error', (error) => listener(String(error)));
      worker.once('exit', (code) => listener(`its thread ended with code ${code}`));
    },
  };
}

const STDERR = 2;

/** Starts a child process, which ends with this one. @param entry a compiled module that calls `serveSession`. */
export function startProcess(entry: URL, threads: number): Remote {
  const child = fork(fileURLToPath(entry), [], {
    serialization: 'advanced',
    execArgv: ['--enable-source-maps'],
    stdio: ['ignore', STDERR, STDERR, 'ipc'],
    env: computeThreadVariables(threads),
  });
  return {
    post: (call) => void (child.connected && child.send(call)), // its end, soon to be told, answers every call
    onReply: (listener) => void child.on('message', (message) => listener(message as RemoteReply)),
    onEnd: (listener) => {
      child.once('error', (error) => listener(String(error)));
      child.once('exit', (code, signal) => listener(signal ? `its process was killed by ${signal}` : `its process ended with code ${code}`));
    },
  };
}

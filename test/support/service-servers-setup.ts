import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { SERVERS_ROOT, stopLeftovers, stopServers } from './service-server-processes.js';

declare module 'vitest' {
  export interface ProvidedContext {
    /** Where this run's Postgres and Redis lie once a test has asked for them. */
    readonly serviceServersDir: string;
  }
}

/** Starts nothing: the first test that asks does. What was started ends with the run, and what a killed run left ends now. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  await stopLeftovers();
  const dir = join(SERVERS_ROOT, String(process.pid));
  mkdirSync(dir, { recursive: true, mode: 0o711 }); // Postgres's user passes through it
  project.provide('serviceServersDir', dir);
  return () => stopServers(dir);
}

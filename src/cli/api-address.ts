import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { cliSettings } from '../config/cli-settings.js';
import { readRecord } from '../embedded/service-record.js';
import { ApiClient, type ApiAddress } from './api-client.js';
import { ArgumentInvalid } from './failure.js';

/** Options of every command that speaks to a service. */
export interface ApiFlags {
  readonly api?: string;
  readonly key?: string;
}

export function addApiOptions(command: Command): Command {
  return command
    .option('--api <url>', 'the service, as http://host:port (default: LIMBECK_CLI_URL, else the "limbeck up" of this machine)')
    .option('--key <key>', 'an API key (default: LIMBECK_CLI_KEY, else the admin key of that "limbeck up")');
}

/** Runs `work` with a client of the service that the options, the environment, or a `limbeck up` on this machine name, in this order. @throws ArgumentInvalid */
export async function withApi<Result>(flags: ApiFlags, work: (client: ApiClient) => Promise<Result>): Promise<Result> {
  const client = new ApiClient(apiAddress(flags));
  try {
    return await work(client);
  } finally {
    await client.close();
  }
}

/** @throws ArgumentInvalid when nothing names a service or a key. */
export function apiAddress(flags: ApiFlags): ApiAddress {
  const settings = cliSettings();
  const dataDir = settings.data ?? join(homedir(), '.limbeck');
  const url = flags.api ?? settings.url ?? readRecord(join(dataDir, 'service.json'))?.url;
  if (url === undefined) throw new ArgumentInvalid(`no service runs from ${dataDir}; start one with "limbeck up", or name one with --api or LIMBECK_CLI_URL`);
  if (!URL.canParse(url)) throw new ArgumentInvalid(`--api is "${url}"; give an address such as http://127.0.0.1:8080`);
  const key = flags.key ?? settings.key ?? adminKey(join(dataDir, 'admin.key'));
  if (key === undefined) throw new ArgumentInvalid(`no API key: give one with --key or LIMBECK_CLI_KEY (a "limbeck up" on this machine leaves one in ${join(dataDir, 'admin.key')})`);
  return { url, key };
}

function adminKey(path: string): string | undefined {
  return existsSync(path) ? readFileSync(path, 'utf8').trim() : undefined;
}

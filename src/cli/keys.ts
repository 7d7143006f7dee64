import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import type { ApiKeyRow } from '../auth/api-keys.repository.js';
import { ApiKeyName } from '../auth/api-keys.schema.js';
import { AuthService } from '../auth/auth.service.js';
import { cliSettings } from '../config/cli-settings.js';
import { keyStoreFromEnvironment } from '../config/key-store-settings.js';
import type { Database } from '../database/database.js';
import { openSecrets } from '../embedded/secrets.js';
import { readRecord } from '../embedded/service-record.js';
import { SCOPES, type Scope } from '../http/scopes.js';
import { ArgumentInvalid } from './failure.js';
import { withDatabase } from './service-database.js';

interface KeysFlags {
  readonly data?: string;
}

interface CreateFlags extends KeysFlags {
  readonly scopes: string;
  readonly expiresInDays?: string;
}

const DAY_SECONDS = 86_400;
const LISTED = 1_000;

/** `keys …`: API keys, made and revoked in the database itself: no key is needed to make the first one. */
export function addKeyCommands(program: Command): void {
  const keys = program.command('keys').description('make, list and revoke API keys, in the database itself');
  const command = (name: string): Command => keys.command(name).option('--data <dir>', 'data directory of a running "limbeck up", unless LIMBECK_DATABASE_URL and LIMBECK_MASTER_KEY are set');

  command('create')
    .argument('<name>', 'what the key is for')
    .option('--scopes <list>', `what it may do, comma-separated: ${SCOPES.join(', ')}`, 'admin')
    .option('--expires-in-days <days>', 'by default it never expires')
    .description('make a key and print it; it is not shown again')
    .action(async (name: string, { data, scopes, expiresInDays }: CreateFlags) => {
      const key = { name: parseName(name), scopes: parseScopes(scopes), expiresInSeconds: expiresInDays === undefined ? null : parseDays(expiresInDays) * DAY_SECONDS };
      const { text } = await withKeys(data, ({ auth, database }) => database.transaction((tx) => auth.createKey(tx, key)));
      process.stdout.write(`${text}\n`);
    });

  command('list')
    .description('list keys, newest first, without their texts')
    .action(async ({ data }: KeysFlags) => {
      const rows = await withKeys(data, ({ auth }) => auth.list(LISTED));
      for (const row of rows) process.stdout.write(`${lineOf(row)}\n`);
    });

  command('revoke')
    .argument('<id>', 'as "keys list" shows it')
    .description('refuse a key from now on')
    .action(async (id: string, { data }: KeysFlags) => {
      await withKeys(data, ({ auth }) => auth.revoke(id));
      process.stdout.write(`${id} is revoked\n`);
    });
}

async function withKeys<Result>(dataDir: string | undefined, work: (store: { auth: AuthService; database: Database }) => Promise<Result>): Promise<Result> {
  const { databaseUrl, masterKey } = keyStore(dataDir);
  return withDatabase(databaseUrl, (database) => work({ database, auth: AuthService.over(database, masterKey) }));
}

/** @throws ArgumentInvalid when neither the environment nor a running service tells where the keys are. */
function keyStore(given: string | undefined): { readonly databaseUrl: string; readonly masterKey: string } {
  const named = keyStoreFromEnvironment();
  const dataDir = given ?? cliSettings().data ?? join(homedir(), '.limbeck');
  const secretsFile = join(dataDir, 'secrets.json');
  const databaseUrl = named.databaseUrl ?? readRecord(join(dataDir, 'service.json'))?.databaseUrl;
  const masterKey = named.masterKey ?? (existsSync(secretsFile) ? openSecrets(secretsFile).masterKey : undefined);
  if (databaseUrl === undefined || masterKey === undefined) {
    throw new ArgumentInvalid(`no service runs from ${dataDir}; start one with "limbeck up", or set LIMBECK_DATABASE_URL and LIMBECK_MASTER_KEY as they are for the API`);
  }
  return { databaseUrl, masterKey };
}

function parseName(text: string): string {
  const name = ApiKeyName.safeParse(text);
  if (!name.success) throw new ArgumentInvalid('a key is named with 1 to 64 printable characters');
  return name.data;
}

function parseScopes(list: string): Scope[] {
  return list.split(',').map((word) => {
    const scope = SCOPES.find((known) => known === word.trim());
    if (!scope) throw new ArgumentInvalid(`--scopes names "${word}"; scopes are ${SCOPES.join(', ')}`);
    return scope;
  });
}

function parseDays(text: string): number {
  const days = Number(text);
  if (!Number.isInteger(days) || days < 1 || days > 3_660) throw new ArgumentInvalid(`--expires-in-days is "${text}"; give a whole number from 1 to 3660`);
  return days;
}

function lineOf({ id, name, last4, scopes, expires_at, revoked_at }: ApiKeyRow): string {
  return [id, `…${last4}`, scopes.join(','), revoked_at === null ? validity(expires_at) : 'revoked', name].join('  ');
}

function validity(expiresAt: number | null): string {
  if (expiresAt === null) return 'active';
  const end = new Date(expiresAt * 1000);
  return `${end.getTime() <= Date.now() ? 'expired' : 'active until'} ${end.toISOString()}`;
}

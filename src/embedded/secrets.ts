import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { z } from 'zod';
import { EmbeddedServerFailed } from './embedded.errors.js';
import { writePrivately } from './private-file.js';

const hex = (bytes: number) => z.string().regex(new RegExp(`^[0-9a-f]{${2 * bytes}}$`));

const Secrets = z.strictObject({
  /** Superuser of the embedded Postgres. */
  postgresPassword: hex(24),
  /** Owner of the database; the API's role. */
  ownerPassword: hex(24),
  /** The workers' role. */
  workerPassword: hex(24),
  redisPassword: hex(24),
  /** Seals teacher keys and keys the hashes of API keys. Without it neither can be used any more. */
  masterKey: hex(32),
});
/** What one installation keeps to itself; made once, in hexadecimal, so that it fits into an address unescaped. */
export type Secrets = z.output<typeof Secrets>;

/** Reads the secrets of a data directory; the first time, makes them. The caller holds the directory's lock. @throws EmbeddedServerFailed when the file is damaged. */
export function openSecrets(path: string): Secrets {
  if (!existsSync(path)) writePrivately(path, `${JSON.stringify(fresh(), undefined, 2)}\n`);
  try {
    return Secrets.parse(JSON.parse(readFileSync(path, 'utf8')));
  } catch (error) {
    throw new EmbeddedServerFailed(`${path} does not hold this installation's secrets: restore it from a backup, or begin with another data directory`, { cause: error });
  }
}

function fresh(): Secrets {
  const random = (bytes: number): string => randomBytes(bytes).toString('hex');
  return { postgresPassword: random(24), ownerPassword: random(24), workerPassword: random(24), redisPassword: random(24), masterKey: random(32) };
}

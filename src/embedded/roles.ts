import pg from 'pg';
import type { Secrets } from './secrets.js';

/** Database and roles of an embedded installation. */
export const DATABASE = 'limbeck';
const OWNER = 'limbeck';
const WORKER = 'limbeck_node';
const WORKER_RIGHTS = 'limbeck_worker'; // what the migration grants to

/** Connection strings of an installation. */
export interface DatabaseUrls {
  /** The owner's: migrations and the API. */
  readonly owner: string;
  /** With a worker's rights alone. */
  readonly worker: string;
}

/** Makes the database and its roles where they are missing, and gives the roles the passwords of `secrets`. @param adminUrl of the superuser, in the database `postgres`. */
export async function ensureDatabase(adminUrl: string, secrets: Secrets): Promise<DatabaseUrls> {
  const admin = new pg.Client({ connectionString: adminUrl });
  await admin.connect();
  try {
    await ensureRole(admin, WORKER_RIGHTS, 'nologin');
    await ensureRole(admin, OWNER, `login password ${admin.escapeLiteral(secrets.ownerPassword)}`);
    await ensureRole(admin, WORKER, `login password ${admin.escapeLiteral(secrets.workerPassword)}`);
    await admin.query(`grant ${WORKER_RIGHTS} to ${WORKER}`);
    const { rowCount } = await admin.query('select from pg_database where datname = $1', [DATABASE]);
    if (rowCount === 0) await admin.query(`create database ${DATABASE} owner ${OWNER}`);
    await admin.query(`revoke connect on database ${DATABASE} from public`);
    await admin.query(`grant connect on database ${DATABASE} to ${WORKER_RIGHTS}`);
  } finally {
    await admin.end();
  }
  return { owner: urlOf(adminUrl, OWNER, secrets.ownerPassword), worker: urlOf(adminUrl, WORKER, secrets.workerPassword) };
}

async function ensureRole(admin: pg.Client, role: string, rights: string): Promise<void> {
  const { rowCount } = await admin.query('select from pg_roles where rolname = $1', [role]);
  await admin.query(`${rowCount === 0 ? 'create' : 'alter'} role ${role} ${rights}`);
}

function urlOf(adminUrl: string, role: string, password: string): string {
  const url = new URL(adminUrl);
  url.username = role;
  url.password = password;
  url.pathname = `/${DATABASE}`;
  return url.href;
}

import type { Command } from 'commander';
import { databaseUrlFromEnvironment } from '../config/up-settings.js';
import { MIGRATE_DEFAULTS, migrate } from '../database/migrate.js';

/** `migrate`: brings the tables of a database up to date, before the processes of a new release start. */
export function addMigrateCommand(program: Command): void {
  program
    .command('migrate')
    .description('bring the tables of the database in LIMBECK_DATABASE_URL up to date')
    .action(async () => {
      const applied = await migrate({ ...MIGRATE_DEFAULTS, url: databaseUrlFromEnvironment() });
      process.stdout.write(applied.length === 0 ? 'the database is up to date\n' : `applied ${applied.join(', ')}\n`);
    });
}

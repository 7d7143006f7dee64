import type { MigrationInterface, QueryRunner } from 'typeorm';

/** The rights of a worker: the tables that stages write, and to read what a run names. Nothing about API keys: a node that is broken into yields none. */
export class Roles1795000000005 implements MigrationInterface {
  readonly name = 'Roles1795000000005';

  async up(runner: QueryRunner): Promise<void> {
    // A role belongs to the whole server: the supervisor, or another installation on that server, may have made it already.
    await runner.query(`
      do $$ begin
        if not exists (select from pg_roles where rolname = 'limbeck_worker') then
          create role limbeck_worker nologin;
        end if;
      exception
        when duplicate_object or unique_violation then null; -- made by another installation at this moment
        when insufficient_privilege then raise insufficient_privilege
          using message = 'this role may not create roles: let an administrator run "create role limbeck_worker nologin" once, then migrate again';
      end $$;
    `);
    await runner.query(`
      grant select, insert, update, delete on stages, run_files, events, checkpoints, run_samples, nodes to limbeck_worker;
      grant select, insert, update, delete on metric_series, metric_batches, metric_points, metric_rollups to limbeck_worker;
      grant select, insert, update on models to limbeck_worker;
      grant select, update on runs to limbeck_worker;
      grant select on teachers, files, migrations to limbeck_worker;
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('revoke all on all tables in schema public from limbeck_worker'); // the role itself may serve another installation
  }
}

import type { MigrationInterface, QueryRunner } from 'typeorm';

/** How much is asked of each teacher's address, by all workers together, and what a stage asked and waits for. */
export class TeacherEndpoints1795000000007 implements MigrationInterface {
  readonly name = 'TeacherEndpoints1795000000007';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      create table teacher_endpoints (
        base_url text primary key,
        concurrency double precision not null,
        cut_at timestamptz not null default 'epoch',
        held_until timestamptz not null default 'epoch',
        calls jsonb not null,
        opened_at timestamptz,
        probe_at timestamptz,
        failed_probes int not null default 0
      );
      create index teacher_endpoints_open on teacher_endpoints (probe_at) where opened_at is not null;

      create table teacher_endpoint_askers (
        base_url text not null references teacher_endpoints on delete cascade,
        node_id text not null references nodes on delete cascade,
        seen_at timestamptz not null default clock_timestamp(),
        primary key (base_url, node_id)
      );
      create index teacher_endpoint_askers_by_node on teacher_endpoint_askers (node_id);

      alter table stages add column waiting_for text check (waiting_for = 'teacher_unavailable');
      alter table stages add column teacher_attempts bigint not null default 0;
      grant select, insert, update, delete on teacher_endpoints, teacher_endpoint_askers to limbeck_worker;
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('alter table stages drop column teacher_attempts, drop column waiting_for');
    await runner.query('drop table teacher_endpoint_askers, teacher_endpoints');
  }
}

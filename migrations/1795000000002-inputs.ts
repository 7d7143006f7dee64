import type { MigrationInterface, QueryRunner } from 'typeorm';

/** What a run names: teachers, prompt files, students; and the nodes that run it. */
export class Inputs1795000000002 implements MigrationInterface {
  readonly name = 'Inputs1795000000002';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      create table teachers (
        id text primary key,
        name text not null unique,
        dialect text not null check (dialect = 'vllm'),
        base_url text not null,
        model text not null,
        api_key_sealed bytea,
        api_key_last4 text,
        created_at timestamptz not null default clock_timestamp(),
        probed_at timestamptz,
        probe jsonb
      );
      create index teachers_by_age on teachers (created_at desc, id desc);

      create table files (
        id text primary key,
        filename text not null,
        purpose text not null,
        bytes bigint not null,
        sha256 text not null,
        prompts int not null,
        place text not null,
        created_at timestamptz not null default clock_timestamp()
      );
      create index files_by_age on files (created_at desc, id desc);

      create table models (
        name text primary key,
        source text not null check (source in ('uploaded', 'distilled')),
        base text,
        run_id text,
        architecture text not null,
        parameters bigint not null,
        bytes bigint not null,
        files jsonb not null,
        place text not null unique,
        created_at timestamptz not null default clock_timestamp()
      );
      create index models_by_age on models (created_at desc, name desc);

      create table nodes (
        id text primary key,
        name text not null,
        devices jsonb not null,
        memory_bytes bigint not null,
        engine text not null,
        version text not null,
        threads int not null,
        queues text[] not null,
        started_at timestamptz not null default clock_timestamp(),
        heartbeat_at timestamptz not null default clock_timestamp(),
        stopped_at timestamptz
      );
      create index nodes_by_age on nodes (started_at desc, id desc);
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('drop table nodes, models, files, teachers');
  }
}

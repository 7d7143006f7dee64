import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Runs, their stages, and everything a stage leaves behind. */
export class Runs1795000000003 implements MigrationInterface {
  readonly name = 'Runs1795000000003';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      create table runs (
        id text primary key,
        created_at timestamptz not null default clock_timestamp(),
        created_by text references api_keys on delete set null,
        status text not null check (status in ('validating_files', 'queued', 'running', 'pausing', 'paused', 'succeeded', 'failed', 'cancelled')),
        model text not null references models on delete restrict,
        training_file text not null references files on delete restrict,
        validation_file text not null references files on delete restrict,
        teacher_id text not null references teachers on delete restrict,
        suffix text not null,
        seed bigint not null,
        spec jsonb not null,
        spec_hash text not null,
        lineage jsonb not null,
        metadata jsonb not null default '{}',
        dry_run boolean not null default false,
        pause_requested_at timestamptz,
        cancel_requested_at timestamptz,
        started_at timestamptz,
        finished_at timestamptz,
        error jsonb,
        plan jsonb,
        report jsonb,
        fine_tuned_model text,
        seq bigint not null default 0
      );
      create index runs_by_age on runs (created_at desc, id desc);
      create index runs_by_status on runs (status, created_at desc, id desc);
      create index runs_by_metadata on runs using gin (metadata jsonb_path_ops);
      create index runs_by_model on runs (model);
      create index runs_by_teacher on runs (teacher_id);
      create index runs_by_training_file on runs (training_file);
      create index runs_by_validation_file on runs (validation_file);
      alter table models add constraint models_run_id_fkey foreign key (run_id) references runs on delete set null;
      create index models_by_run on models (run_id);

      create table stages (
        id bigint generated always as identity primary key,
        run_id text not null references runs on delete cascade,
        name text not null check (name in ('validate', 'collect', 'distill', 'align', 'evaluate', 'export', 'controls')),
        ordinal smallint not null,
        queue text not null check (queue in ('collect', 'device')),
        status text not null check (status in ('blocked', 'waiting', 'running', 'paused', 'succeeded', 'failed', 'cancelled')),
        epoch int not null default 0,
        node_id text references nodes on delete set null,
        lease_expires_at timestamptz,
        claimed_at timestamptz,
        started_at timestamptz,
        finished_at timestamptz,
        device_seconds double precision not null default 0,
        progress jsonb,
        account jsonb,
        error jsonb,
        unique (run_id, name),
        unique (run_id, ordinal)
      );
      create index stages_open on stages (status, lease_expires_at) where status in ('waiting', 'running');
      create index stages_by_node on stages (node_id) where status = 'running';

      create table run_files (
        run_id text not null references runs on delete cascade,
        name text not null,
        place text not null,
        bytes bigint not null,
        sha256 text,
        stage text not null,
        epoch int not null,
        written_at timestamptz not null default clock_timestamp(),
        primary key (run_id, name)
      );

      create table events (
        run_id text not null references runs on delete cascade,
        seq bigint not null,
        kind text not null check (kind in ('event', 'status', 'progress', 'metrics')),
        at timestamptz not null default clock_timestamp(),
        level text not null check (level in ('info', 'warn', 'error')),
        type text not null,
        message text not null,
        data jsonb not null,
        primary key (run_id, seq)
      );
      create index events_to_list on events (run_id, seq desc) where kind = 'event';
      create index events_to_forget on events (at) where kind in ('progress', 'metrics');
      create index events_of_progress on events (run_id) where kind = 'progress';

      create table checkpoints (
        id text primary key,
        run_id text not null references runs on delete cascade,
        stage text not null,
        step int not null,
        epoch int not null,
        name text not null,
        bytes bigint not null,
        metrics jsonb not null,
        state text not null check (state in ('committed', 'expired', 'quarantined')),
        created_at timestamptz not null default clock_timestamp(),
        unique (run_id, name)
      );
      create index checkpoints_by_age on checkpoints (run_id, created_at desc, id desc);

      create table run_samples (
        run_id text not null references runs on delete cascade,
        label text not null,
        index int not null,
        prompt text not null,
        teacher text,
        student text not null,
        primary key (run_id, label, index)
      );
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('alter table models drop constraint models_run_id_fkey');
    await runner.query('drop table run_samples, checkpoints, events, run_files, stages, runs');
  }
}

import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Every hold of a stage and how it ended: what decides whether a stage that failed is tried again. */
export class StageAttempts1795000000008 implements MigrationInterface {
  readonly name = 'StageAttempts1795000000008';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      create table stage_attempts (
        stage_id bigint not null references stages on delete cascade,
        epoch int not null,
        node_id text references nodes on delete set null,
        began_at timestamptz not null default clock_timestamp(),
        ended_at timestamptz,
        how text check (how in ('succeeded', 'paused', 'cancelled', 'preempted', 'lost', 'infra', 'trainer_error', 'teacher', 'invalid')),
        code text,
        -- The last step, or other unit of progress, that this attempt told of, and the newest checkpoint when it ended.
        step int,
        checkpoint_step int,
        primary key (stage_id, epoch),
        check ((ended_at is null) = (how is null))
      );
      create index stage_attempts_by_node on stage_attempts (node_id);
      grant select, insert, update on stage_attempts to limbeck_worker;
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('drop table stage_attempts');
  }
}

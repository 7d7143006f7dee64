import type { MigrationInterface, QueryRunner } from 'typeorm';

/** Why a run paused by itself: `{code, message, param}`; null for one that somebody paused. */
export class PauseCause1795000000006 implements MigrationInterface {
  readonly name = 'PauseCause1795000000006';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query('alter table runs add column pause_cause jsonb');
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('alter table runs drop column pause_cause');
  }
}

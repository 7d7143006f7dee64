import type { MigrationInterface, QueryRunner } from 'typeorm';

/** A node that is to give its stages back and take no more. */
export class NodeDrain1795000000010 implements MigrationInterface {
  readonly name = 'NodeDrain1795000000010';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query('alter table nodes add column drain_requested_at timestamptz');
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('alter table nodes drop column drain_requested_at');
  }
}

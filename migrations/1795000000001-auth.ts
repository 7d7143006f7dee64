import type { MigrationInterface, QueryRunner } from 'typeorm';

/** API keys, and the answers kept for repeated requests. */
export class Auth1795000000001 implements MigrationInterface {
  readonly name = 'Auth1795000000001';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      create table api_keys (
        id text primary key,
        name text not null,
        hash bytea not null unique,
        last4 text not null,
        scopes text[] not null check (cardinality(scopes) > 0),
        created_at timestamptz not null default clock_timestamp(),
        expires_at timestamptz,
        revoked_at timestamptz,
        last_used_at timestamptz
      );
      create index api_keys_by_age on api_keys (created_at desc, id desc);

      create table idempotency_keys (
        api_key_id text not null references api_keys on delete cascade,
        key text not null,
        route text not null,
        body_hash bytea not null,
        status smallint not null,
        response jsonb not null,
        created_at timestamptz not null default clock_timestamp(),
        primary key (api_key_id, key)
      );
      create index idempotency_keys_by_age on idempotency_keys (created_at);
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('drop table idempotency_keys, api_keys');
  }
}

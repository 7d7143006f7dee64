import type { MigrationInterface, QueryRunner } from 'typeorm';

/** What training measured: points, their rollups, and the batches they came in. */
export class Metrics1795000000004 implements MigrationInterface {
  readonly name = 'Metrics1795000000004';

  async up(runner: QueryRunner): Promise<void> {
    await runner.query(`
      create table metric_series (
        id int generated always as identity primary key,
        run_id text not null references runs on delete cascade,
        key text not null,
        stage text not null generated always as (split_part(key, '/', 1)) stored,
        unique (run_id, key)
      );

      create table metric_batches (
        run_id text not null references runs on delete cascade,
        batch_id uuid not null,
        primary key (run_id, batch_id)
      );

      -- No foreign key: looking up the series of each point costs more than storing it. A batch is tied to its run by metric_batches, so no point outlives its series.
      create table metric_points (
        series int not null,
        attempt int not null,
        step int not null check (step >= 0),
        value double precision not null,
        at timestamptz not null,
        primary key (series, attempt, step)
      );

      create function forget_metric_points() returns trigger language plpgsql as $$
        begin
          delete from metric_points where series = old.id;
          return null;
        end
      $$;
      create trigger forget_metric_points after delete on metric_series for each row execute function forget_metric_points();

      -- A row sums up the points of 2^level steps from bucket * 2^level on: levels 6, 9, 12, and 31, which is the whole attempt. Extremes are those of finite values.
      create table metric_rollups (
        series int not null references metric_series on delete cascade,
        level smallint not null check (level in (6, 9, 12, 31)),
        attempt int not null,
        bucket int not null,
        count int not null,
        nonfinite int not null,
        first_step int not null,
        last_step int not null,
        low_step int,
        high_step int,
        first double precision not null,
        last double precision not null,
        low double precision,
        high double precision,
        primary key (series, level, attempt, bucket)
      ) with (fillfactor = 80);
    `);
  }

  async down(runner: QueryRunner): Promise<void> {
    await runner.query('drop table metric_rollups, metric_points, metric_batches, metric_series');
    await runner.query('drop function forget_metric_points');
  }
}

import { Inject, Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { DataSource, type EntityManager } from 'typeorm';

/** A transaction in progress; only its `query` is used. A service that joins another's takes it as its first argument. */
export type Tx = Pick<EntityManager, 'query'>;

/** The database as repositories see it. */
@Injectable()
export class Database implements OnApplicationShutdown {
  constructor(@Inject(DataSource) private readonly source: DataSource) {}

  /** One statement of its own. @returns its rows (`returning` included). */
  query<Row>(sql: string, parameters: readonly unknown[] = []): Promise<Row[]> {
    return rowsOf<Row>(this.source, sql, parameters);
  }

  /** Runs `work` in one transaction; what it throws rolls everything back. Read committed. */
  transaction<Result>(work: (tx: Tx) => Promise<Result>): Promise<Result> {
    return this.source.transaction((manager) => work(manager));
  }

  async onApplicationShutdown(): Promise<void> {
    if (this.source.isInitialized) await this.source.destroy();
  }
}

/** Rows of a statement inside a transaction. TypeORM wraps those of `update` and `delete` in a pair with their count; this is always the rows. */
export async function rowsOf<Row>(tx: Tx, sql: string, parameters: readonly unknown[] = []): Promise<Row[]> {
  const result: unknown = await tx.query(sql, [...parameters]);
  return (isPair(result) ? result[0] : result) as Row[];
}

function isPair(result: unknown): result is [unknown[], number] {
  return Array.isArray(result) && result.length === 2 && Array.isArray(result[0]) && typeof result[1] === 'number';
}

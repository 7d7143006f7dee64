import { Inject, Injectable, type OnApplicationShutdown } from '@nestjs/common';
import { DataSource, type EntityManager } from 'typeorm';
import { DatabaseBusy, DatabaseUnavailable } from './database.errors.js';
import { isGivenUp, isUnavailable } from './violations.js';

/** A transaction in progress; only its `query` is used. A service that joins another's takes it as its first argument. */
export type Tx = Pick<EntityManager, 'query'>;

/** The database as repositories see it. */
@Injectable()
export class Database implements OnApplicationShutdown {
  constructor(@Inject(DataSource) private readonly source: DataSource) {}

  /** One statement of its own. @returns its rows (`returning` included). @throws DatabaseUnavailable, DatabaseBusy; the driver's error when the statement fails. */
  query<Row>(sql: string, parameters: readonly unknown[] = []): Promise<Row[]> {
    return named(rowsOf<Row>(this.source, sql, parameters));
  }

  /** Runs `work` in one transaction; what it throws rolls everything back. Read committed. @throws DatabaseUnavailable, DatabaseBusy; what `work` throws. */
  transaction<Result>(work: (tx: Tx) => Promise<Result>): Promise<Result> {
    return named(this.source.transaction((manager) => work(manager)));
  }

  /** Runs `work`, which writes by one statement at most and so needs no transaction around it. @throws DatabaseUnavailable, DatabaseBusy; what `work` throws. */
  alone<Result>(work: (tx: Tx) => Promise<Result>): Promise<Result> {
    return named(work(this.source));
  }

  async onApplicationShutdown(): Promise<void> {
    if (this.source.isInitialized) await this.source.destroy();
  }
}

/** Names the failures that pass, so that no caller needs to know what drivers say of a lost server or of a deadlock. @throws DatabaseUnavailable, DatabaseBusy; whatever else `work` throws */
export async function named<Result>(work: Promise<Result>): Promise<Result> {
  try {
    return await work;
  } catch (error) {
    if (isUnavailable(error)) throw new DatabaseUnavailable(error);
    throw isGivenUp(error) ? new DatabaseBusy(error) : error;
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

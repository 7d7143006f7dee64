import type { Tx } from '../../src/database/database.js';

/** A statement that went through. */
export interface Seen {
  readonly sql: string;
  readonly parameters: readonly unknown[];
}

/** A transaction that adds each statement that succeeds to `seen`. */
export function watchedTx(tx: Tx, seen: Seen[]): Tx {
  const query = async (sql: string, parameters: unknown[] = []): Promise<never> => {
    const answer = (await tx.query(sql, parameters)) as never;
    seen.push({ sql, parameters });
    return answer;
  };
  return { query };
}

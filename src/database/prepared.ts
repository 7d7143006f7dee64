import pg from 'pg';

/** Names of the statements to prepare, by their text. */
const names = new Map<string, string>();

/**
 * Marks a statement that is asked for with every request: each connection has the server parse and plan it once. Only for statements whose best plan does not
 * hang on the values of their parameters.
 * @param name at most 63 bytes, this statement's alone
 * @returns `sql`
 */
export function prepared(name: string, sql: string): string {
  names.set(sql, name);
  return sql;
}

/** A connection that prepares what `prepared` marked. */
export class PreparingClient extends pg.Client {
  override readonly query = ((asked: unknown, values: unknown, done: unknown): unknown => {
    const ask = super.query.bind(this) as (...given: unknown[]) => unknown;
    const name = typeof asked === 'string' ? names.get(asked) : undefined;
    return name === undefined ? ask(asked, values, done) : ask({ name, text: asked, values }, undefined, done);
  }) as pg.Client['query'];
}

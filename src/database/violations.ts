import { QueryFailedError } from 'typeorm';

/** SQLSTATE codes (PostgreSQL, appendix A, class 23). */
const STATES = { unique: '23505', foreign_key: '23503' } as const;

/** Whether a statement failed because of a constraint of this kind; with `constraint`, of this very one. */
export function isViolation(error: unknown, kind: keyof typeof STATES, constraint?: string): boolean {
  if (!(error instanceof QueryFailedError)) return false;
  const driver: unknown = error.driverError;
  if (!(driver instanceof Error) || !('code' in driver) || driver.code !== STATES[kind]) return false;
  return constraint === undefined || ('constraint' in driver && driver.constraint === constraint);
}

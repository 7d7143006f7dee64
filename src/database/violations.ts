import { QueryFailedError } from 'typeorm';

/** SQLSTATE codes (PostgreSQL, appendix A, class 23). A reference with `on delete restrict` has a code of its own since PostgreSQL 18. */
const STATES = { unique: /^23505$/, foreign_key: /^(23503|23001)$/ } as const;

/** Connection exceptions (class 08), too many connections, and a server that shuts down, crashed or starts up. */
const UNAVAILABLE_STATE = /^(08...|53300|57P0[123])$/;
const UNAVAILABLE_SOCKET = new Set(['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'EHOSTUNREACH', 'ENETUNREACH', 'ENOTFOUND', 'EAI_AGAIN']);
// The driver and its pool give these no code.
const UNAVAILABLE_WORDS = /^(Connection terminated|timeout expired|timeout exceeded when trying to connect|Client has encountered a connection error|Client was closed)/;

/** What the server gave up for the sake of others or of its limits: serialization failure, deadlock, lock not available, query canceled (statement_timeout). */
const GIVEN_UP_STATE = /^(40001|40P01|55P03|57014)$/;

interface Fault {
  readonly code?: string;
  readonly constraint?: string;
}

/** Whether a statement failed because of a constraint of this kind; with `constraint`, of this very one. */
export function isViolation(error: unknown, kind: keyof typeof STATES, constraint?: string): boolean {
  const fault = faultOf(error) as Fault;
  return STATES[kind].test(fault.code ?? '') && (constraint === undefined || fault.constraint === constraint);
}

/** Whether the database could not be asked: it is down, restarting, full or unreachable. The same statement may succeed later. */
export function isUnavailable(error: unknown): boolean {
  const fault = faultOf(error);
  if (fault instanceof AggregateError) return fault.errors.some(isUnavailable); // a name with several addresses
  const { code } = fault as Fault;
  if (code !== undefined) return UNAVAILABLE_STATE.test(code) || UNAVAILABLE_SOCKET.has(code);
  return fault instanceof Error && UNAVAILABLE_WORDS.test(fault.message);
}

/** Whether the database gave the work up, undoing it, because of other work at the same time or because it took too long. The same work may succeed later. */
export function isGivenUp(error: unknown): boolean {
  return GIVEN_UP_STATE.test((faultOf(error) as Fault).code ?? '');
}

function faultOf(error: unknown): object {
  const fault: unknown = error instanceof QueryFailedError ? error.driverError : error;
  return typeof fault === 'object' && fault !== null ? fault : {};
}

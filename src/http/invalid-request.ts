import { RequestInvalid } from './http.errors.js';

type Step = PropertyKey | { readonly key: PropertyKey };

/** What a Standard Schema says about a value; zod's issues carry more. */
interface Issue {
  readonly message: string;
  readonly path?: readonly Step[];
  /** Of zod's `unrecognized_keys`. */
  readonly keys?: readonly string[];
  /** Of zod's `invalid_union`: the issues of each branch. */
  readonly errors?: readonly (readonly Issue[])[];
}

interface Fault {
  readonly param: string;
  readonly message: string;
}

const FAULTS_TOLD = 20;

/** The refusal of a request that its schema does not take. Names every field at fault; `param` is the first. */
export function invalidRequest(issues: readonly Issue[]): RequestInvalid {
  const faults = issues.flatMap((issue) => faultsOf(issue, []));
  const told = faults.slice(0, FAULTS_TOLD).map(({ param, message }) => (param === '' ? message : `${param}: ${message}`));
  if (faults.length > FAULTS_TOLD) told.push(`and ${faults.length - FAULTS_TOLD} more`);
  return new RequestInvalid(told.join('; '), { param: faults[0].param || null });
}

function faultsOf({ message, path = [], keys, errors }: Issue, above: readonly string[]): Fault[] {
  const here = [...above, ...path.map((step) => String(typeof step === 'object' ? step.key : step))];
  if (keys) return keys.map((key) => ({ param: [...here, key].join('.'), message: 'no such field' }));
  const branches = (errors ?? []).map((branch) => branch.flatMap((issue) => faultsOf(issue, here)));
  // The branch that came furthest is the one that was meant.
  const meant = branches.filter((branch) => branch.length > 0).sort((a, b) => depthOf(b) - depthOf(a))[0];
  return meant && depthOf(meant) > here.length ? meant : [{ param: here.join('.'), message }];
}

function depthOf(faults: readonly Fault[]): number {
  return Math.max(...faults.map(({ param }) => (param === '' ? 0 : param.split('.').length)));
}

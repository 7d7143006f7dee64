import type { RunContext } from './context.js';
import { layGround, survey, type Ground } from './ground.js';
import { claimStore } from './identity.js';
import { checkMemory } from './memory-check.js';
import { checkEngine, checkInputs, checkTeacher, type Check } from './preflight.js';
import { planOf, type RunPlan } from './run-plan.js';
import type { StudentEngine } from './student-engine.js';

/** What the checks led to. */
export interface Validated {
  readonly ground: Ground;
  readonly plan: RunPlan;
}

/**
 * The stage `validate`: makes every check, those of the engine on `student`, and claims the store.
 * @throws PreflightFailed and other refusals before anything is written.
 */
export async function validate(context: RunContext, student: StudentEngine, signal?: AbortSignal): Promise<Validated> {
  const checks: Check[] = [];
  const tell = (more: readonly Check[]): void => {
    checks.push(...more);
    for (const check of more) context.onEvent({ kind: 'check', ...check });
  };
  const { subject, local } = await survey(context);
  tell(checkInputs(subject));
  const taught = await checkTeacher(subject, context.teacher, signal);
  tell(taught.checks);
  const engine = await student.start();
  tell(checkEngine(subject, await engine.describe()));
  const { check, memoryBytes } = await checkMemory(subject, engine);
  tell([check]);
  const { fingerprint } = taught.capabilities;
  const identity = { ...local, teacher: fingerprint };
  await claimStore(context.store, identity);
  return { ground: layGround({ context, subject, identity, student }, fingerprint), plan: { checks, ...planOf(subject, memoryBytes) } };
}

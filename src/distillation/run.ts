import { writeReport } from './assemble-report.js';
import { collectStage } from './collect-stage.js';
import type { RunContext } from './context.js';
import { controlsStage } from './controls-stage.js';
import { evaluateStage } from './evaluate-stage.js';
import { exportStage } from './export-stage.js';
import { returnTo, type Ground } from './ground.js';
import type { RunReport, StageAccount } from './report.js';
import type { RunPlan } from './run-plan.js';
import { NO_COST } from './run-state.js';
import { runStage } from './stage-events.js';
import { stagesOf, type Stage } from './stage-order.js';
import { StudentEngine } from './student-engine.js';
import { alignStage, distillStage } from './training-stages.js';
import { validate, type Validated } from './validate-stage.js';

export type { RunContext } from './context.js';
export type { RunPlan } from './run-plan.js';
export { STAGE_ORDER, stagesOf, type Stage } from './stage-order.js';

/** What a stage came to. */
export interface StageOutcome {
  /** Of all attempts that reached a commit; of `validate` the time of this one. */
  readonly account: StageAccount;
  /** Of `validate`. */
  readonly plan?: RunPlan;
  /** Of the run's last stage. */
  readonly report?: RunReport;
}

/** Every stage but the first, which lays the ground for them. */
const WORK: Readonly<Record<Exclude<Stage, 'validate'>, (ground: Ground, signal?: AbortSignal) => Promise<StageAccount>>> = {
  collect: collectStage,
  distill: distillStage,
  align: alignStage,
  evaluate: evaluateStage,
  export: async (ground, signal) => (await exportStage(ground, signal)).account,
  controls: controlsStage,
};

/**
 * Performs one stage on what the store holds of those before it, in whatever process and on whatever node: what is committed is never done or asked
 * for again. `collect` opens no engine; `distill` and `export` do not ask the teacher.
 * @throws AppError; `Aborted` when `signal` fires, after what was finished is committed; StageMissing when an earlier stage is not finished.
 */
export async function performStage(stage: Stage, context: RunContext, signal?: AbortSignal): Promise<StageOutcome> {
  return withStudent(context, async (student) => {
    if (stage === 'validate') return (await performValidate(context, student, signal)).outcome;
    return performOn(await returnTo(context, student), stage, signal);
  });
}

/**
 * Runs a distillation from its checks to its exported student, going on from whatever the store holds of it; a resumed run, and one whose stages were
 * performed one by one, end with the same bits.
 * @throws AppError; `Aborted` when `signal` fires, after what was finished is committed. Refusals of the checks leave the store untouched.
 */
export async function runDistillation(context: RunContext, signal?: AbortSignal): Promise<RunReport> {
  return withStudent(context, async (student) => {
    const { ground } = (await performValidate(context, student, signal)).validated;
    for (const stage of stagesOf(context.spec)) {
      if (stage === 'validate') continue;
      const { report } = await performOn(ground, stage, signal);
      if (report) return report;
    }
    throw new Error('the last stage wrote no report');
  });
}

async function withStudent<Result>({ openEngine, modelDir }: RunContext, work: (student: StudentEngine) => Promise<Result>): Promise<Result> {
  const student = new StudentEngine(() => openEngine(modelDir));
  return work(student).finally(() => student.close());
}

async function performValidate(context: RunContext, student: StudentEngine, signal?: AbortSignal): Promise<{ validated: Validated; outcome: StageOutcome }> {
  const began = context.clock();
  const validated = await runStage(context, { stage: 'validate', label: 'validate' }, () => validate(context, student, signal));
  return { validated, outcome: { account: { ...NO_COST, seconds: (context.clock() - began) / 1000 }, plan: validated.plan } };
}

async function performOn(ground: Ground, stage: Exclude<Stage, 'validate'>, signal?: AbortSignal): Promise<StageOutcome> {
  const account = await WORK[stage](ground, signal);
  return stage === stagesOf(ground.spec).at(-1) ? { account, report: await writeReport(ground) } : { account };
}

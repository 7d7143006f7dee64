import type { RunRow, StageRow } from './runs.rows.js';
import type { Job } from './runs.schema.js';
import type { StageProgress } from './stage-claim.js';

/** The job object of a run and its stages, which come in order. @param now Unix seconds. */
export function jobOf(run: RunRow, stages: readonly StageRow[], now: number): Job {
  const current = run.finished_at === null ? stages.find(({ status }) => status !== 'succeeded') : undefined;
  const { id, created_at, finished_at, model, fine_tuned_model, training_file, validation_file, status, error, seed, suffix, metadata, dry_run, lineage, plan, report } = run;
  return {
    id,
    object: 'fine_tuning.job',
    created_at,
    finished_at,
    estimated_finish: estimateFinish(current, now),
    model,
    fine_tuned_model,
    organization_id: 'limbeck',
    training_file,
    validation_file,
    result_files: [],
    status,
    error,
    trained_tokens: status === 'succeeded' && !dry_run ? trainedTokens(stages) : null,
    seed,
    suffix,
    hyperparameters: {},
    integrations: null,
    method: run.spec.method,
    metadata,
    dry_run,
    pause_requested_at: run.pause_requested_at,
    cancel_requested_at: run.cancel_requested_at,
    status_details: { stage: current?.name ?? null, waiting_reason: waitingReason(current), paused_for: run.pause_cause, restarts: restartsOf(stages), stages: stages.map(stageView) },
    progress: current?.progress ? { ...progressView(current.progress), stage: current.name } : null,
    usage: usageOf(stages),
    lineage,
    plan,
    report: report && withoutPlaces(report),
  };
}

/** Where the student lies on the worker's disk is nobody's business; its model has a name. */
function withoutPlaces(report: object): object {
  return Object.fromEntries(Object.entries(report).filter(([field]) => field !== 'student_dir'));
}

function stageView({ name, status, started_at, finished_at, epoch, node_id, progress, error }: StageRow): Job['status_details']['stages'][number] {
  return { name, status, started_at, finished_at, epoch, node: node_id, progress: progress && progressView(progress), error };
}

function progressView({ done, total, unit, label, rate }: StageProgress) {
  const percent = total > 0 ? Math.min(100, (100 * done) / total) : 0;
  return { percent: Math.round(percent * 10) / 10, done, total, unit, label, rate };
}

function waitingReason(stage: StageRow | undefined): Job['status_details']['waiting_reason'] {
  if (stage?.status === 'running') return stage.waiting_for;
  if (stage?.status === 'waiting') return 'worker';
  return stage?.status === 'paused' ? 'resume' : null;
}

function restartsOf(stages: readonly StageRow[]): Job['status_details']['restarts'] {
  const totals: Record<string, number> = {};
  for (const { restarts } of stages) for (const [cause, times] of Object.entries(restarts)) totals[cause] = (totals[cause] ?? 0) + times;
  return totals;
}

/** When the stage at work would end at its present rate. */
function estimateFinish(stage: StageRow | undefined, now: number): number | null {
  if (stage?.status !== 'running' || !stage.progress || stage.progress.rate <= 0) return null;
  const { done, total, rate } = stage.progress;
  return now + Math.ceil((total - done) / rate);
}

function trainedTokens(stages: readonly StageRow[]): number {
  return sum(stages.filter(({ name }) => name === 'distill' || name === 'align'), ({ account }) => account?.tokens);
}

function usageOf(stages: readonly StageRow[]): Job['usage'] {
  return {
    student_tokens: sum(stages.filter(({ name }) => name !== 'collect'), ({ account }) => account?.tokens),
    teacher_requests: sum(stages, ({ account }) => account?.teacher_calls),
    teacher_attempts: sum(stages, ({ teacher_attempts }) => teacher_attempts),
    seconds: sum(stages, ({ account }) => account?.seconds),
    device_seconds: Object.fromEntries(stages.filter(({ device_seconds }) => device_seconds > 0).map(({ name, device_seconds }) => [name, device_seconds])),
  };
}

function sum(stages: readonly StageRow[], value: (stage: StageRow) => number | undefined): number {
  return stages.reduce((total, stage) => total + (value(stage) ?? 0), 0);
}

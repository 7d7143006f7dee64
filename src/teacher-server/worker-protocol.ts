import type { TeacherRows, TeacherRun } from './runtime.js';

/** What the server asks of the thread that runs the model. */
export type WorkerCall = { readonly kind: 'run'; readonly run: TeacherRun } | { readonly kind: 'forget'; readonly lane: number } | { readonly kind: 'close' };

/** What that thread answers: `ready` once, then one `rows` or `failed` for each `run`. */
export type WorkerReply = { readonly kind: 'ready' } | { readonly kind: 'rows'; readonly rows: TeacherRows } | { readonly kind: 'failed'; readonly reason: string };

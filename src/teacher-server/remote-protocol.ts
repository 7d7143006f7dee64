import type { RuntimeOptions } from './runtime-options.js';
import type { RunRules, TeacherRows, TeacherRun } from './runtime.js';

/** What the server asks of the thread or process that runs the model; `open` comes first and once. */
export type RemoteCall =
  | { readonly kind: 'open'; readonly options: RuntimeOptions }
  | { readonly kind: 'run'; readonly run: TeacherRun }
  | { readonly kind: 'forget'; readonly lane: number }
  | { readonly kind: 'close' };

/** What comes back: `ready` or `failed` for `open`, `rows` or `failed` for each `run`. */
export type RemoteReply =
  | { readonly kind: 'ready'; readonly rules: RunRules }
  | { readonly kind: 'rows'; readonly rows: TeacherRows }
  | { readonly kind: 'failed'; readonly reason: string };

import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

/** Node's options for a forked process that shall answer {@link collected}. */
export const COLLECTS: readonly string[] = ['--expose-gc', '--import', join(import.meta.dirname, 'on-order.mjs')];

/** Has a process that was forked with {@link COLLECTS} let go of all its garbage: what it holds then, something still refers to. */
export async function collected(child: ChildProcess): Promise<void> {
  const answered = once(child, 'message');
  child.send({ kind: 'collect' });
  await answered;
}

import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { AppError } from '../common/errors.js';
import { teacherEnvironment, type TeacherSettingsInput } from '../config/teacher-settings.js';

/** The teacher server's process ended before it listened. */
class TeacherNotStarted extends AppError {
  readonly code = 'cli.teacher_not_started';
  readonly kind = 'unavailable';
}

/** A teacher server in a process of its own, as it would run on another machine. */
export interface TeacherProcess {
  readonly url: string;
  /** Takes every core away from it, and gives them back. */
  freeze(): void;
  thaw(): void;
  stop(): Promise<void>;
}

/** Starts the server and waits until it listens; it ends with this process. @throws TeacherNotStarted, having shown the server's own words on standard error. */
export async function startTeacherProcess(settings: TeacherSettingsInput): Promise<TeacherProcess> {
  const entry = fileURLToPath(new URL('../main.teacher.js', import.meta.url));
  // A process group of its own: Ctrl-C is for the run, which still needs its teacher to reach a step boundary.
  const child = fork(entry, { env: teacherEnvironment(settings), stdio: ['ignore', 'ignore', 'inherit', 'ipc'], detached: true });
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const url = await new Promise<string>((resolve, reject) => {
    child.once('message', (message: { readonly url: string }) => resolve(message.url));
    child.once('error', reject);
    child.once('exit', (code) => reject(new TeacherNotStarted(`the teacher server ended with status ${code} before it listened; its own words are above`)));
  });
  const stop = async (): Promise<void> => {
    child.kill('SIGTERM');
    await ended;
  };
  return { url, freeze: () => void child.kill('SIGSTOP'), thaw: () => void child.kill('SIGCONT'), stop };
}

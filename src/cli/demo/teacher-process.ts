import { spawn } from 'node:child_process';
import { AppError } from '../../common/errors.js';
import { TEACHER_NAME } from './job-file.js';

/** The teacher server's process ended before it listened. */
class TeacherNotStarted extends AppError {
  readonly code = 'cli.teacher_not_started';
  readonly kind = 'unavailable';
}

export interface TeacherProcess {
  readonly url: string;
  stop(): Promise<void>;
}

/** Starts `teacher serve` on a free port as a process of its own, as it would run on another machine. */
export async function startTeacher(modelDir: string, apiKey: string): Promise<TeacherProcess> {
  const args = ['--enable-source-maps', process.argv[1], 'teacher', 'serve', modelDir, '--port', '0', '--model-name', TEACHER_NAME, '--api-key', apiKey];
  // A process group of its own: Ctrl-C is for the run, which still needs its teacher to reach a step boundary.
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'], detached: true });
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const stopWithParent = (): void => void child.kill('SIGTERM');
  process.once('exit', stopWithParent);
  const url = await new Promise<string>((resolve, reject) => {
    let text = '';
    child.stdout.on('data', (chunk: Buffer) => {
      text += chunk.toString('utf8');
      const match = /^serving .* at (http:\S+)$/m.exec(text);
      if (match) resolve(match[1]);
    });
    child.once('error', reject);
    child.once('exit', (code) => reject(new TeacherNotStarted(`the teacher server ended with status ${code} before it listened; its own words are above`)));
  });
  const stop = async (): Promise<void> => {
    process.off('exit', stopWithParent);
    child.kill('SIGTERM');
    await ended;
  };
  return { url, stop };
}

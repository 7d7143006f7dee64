import { fork } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ApiClient } from '../../src/cli/api-client.js';
import { pushFile, pushModel } from '../../src/cli/push.js';
import { teacherEnvironment } from '../../src/config/teacher-settings.js';
import { pruneModel } from '../../src/model-files/prune.js';
import { Teacher } from '../../src/teachers/teacher.schema.js';
import { compiled } from './compiled.js';
import { writeTinyModel } from './tiny-model.js';

/** Ids of what a job names. */
export interface RegisteredInputs {
  readonly model: string;
  readonly trainingFile: string;
  readonly validationFile: string;
  readonly teacher: string;
}

/** A teacher server in a process of its own. */
export interface RunningTeacher {
  readonly url: string;
  stop(): Promise<void>;
}

/** Writes `student`, `train.jsonl` and `heldout.jsonl` into a directory. @returns the teacher's directory beside them. */
export async function layInputs(dir: string): Promise<string> {
  const teacherDir = await writeTinyModel(join(dir, 'teacher'), { layers: 3, seed: 5 });
  await pruneModel(teacherDir, join(dir, 'student'), [0, 2]);
  await writeFile(join(dir, 'train.jsonl'), promptLines(20, 0));
  await writeFile(join(dir, 'heldout.jsonl'), promptLines(4, 100));
  return teacherDir;
}

/** Serves a model directory as `tiny-teacher`. */
export async function startTeacherProcess(modelDir: string): Promise<RunningTeacher> {
  const child = fork(await compiled('src/main.teacher.ts'), { env: teacherEnvironment({ modelDir, modelName: 'tiny-teacher', port: 0, threads: 1 }), stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
  const [{ url }] = (await once(child, 'message')) as [{ readonly url: string }];
  const stop = async (): Promise<void> => {
    const gone = once(child, 'exit');
    child.kill('SIGTERM');
    await gone;
  };
  return { url, stop };
}

/** Sends model and prompt files to a service and registers the teacher there. */
export async function registerInputs(client: ApiClient, dir: string, teacherUrl: string): Promise<RegisteredInputs> {
  const { id: model } = await pushModel(client, { dir: join(dir, 'student'), name: 'small' });
  const { id: trainingFile } = await pushFile(client, join(dir, 'train.jsonl'));
  const { id: validationFile } = await pushFile(client, join(dir, 'heldout.jsonl'));
  const { id: teacher } = await client.post('/v1/teachers', { name: 'strong', base_url: teacherUrl, model: 'tiny-teacher' }, Teacher);
  return { model, trainingFile, validationFile, teacher };
}

function promptLines(count: number, first: number): string {
  return Array.from({ length: count }, (_, index) => `${JSON.stringify({ messages: [{ role: 'user', content: `Say number ${first + index}.` }] })}\n`).join('');
}

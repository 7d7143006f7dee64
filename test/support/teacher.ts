import type { TeacherSettingsInput } from '../../src/config/teacher-settings.js';
import { startTeacherServer, type TeacherServer } from '../../src/teacher-server/start-teacher-server.js';
import { InProcessRuntime } from './in-process-runtime.js';

/** A teacher server over real HTTP on a free port of this process, for tests; it behaves like the product's but computes on the calling thread. */
export function startTestTeacher(settings: TeacherSettingsInput): Promise<TeacherServer> {
  return startTeacherServer({ port: 0, threads: 1, ...settings }, { openRuntime: (options) => InProcessRuntime.open(options) });
}

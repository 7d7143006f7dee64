import { Command } from 'commander';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { addRegisteredTeacherCommands } from '../../src/cli/registered-teachers.js';
import { TeachersModule } from '../../src/teachers/teachers.module.js';
import { FakeTeacher } from '../support/fake-teacher/fake-teacher.js';
import { startApi, type RunningApi } from '../support/running-api.js';

describe('limbeck teacher', () => {
  let api: RunningApi;
  let fake: FakeTeacher;
  let key: string;

  beforeAll(async () => {
    fake = await FakeTeacher.start();
    api = await startApi([TeachersModule], { allowedTeachers: fake.baseUrl });
    key = await api.key('teachers:read', 'teachers:write');
  });

  afterAll(async () => {
    vi.unstubAllEnvs();
    await api.close();
    await fake.close();
  });

  /** Runs one command. @returns the lines it prints. */
  const run = async (...words: string[]): Promise<string[]> => {
    const teacher = new Command('teacher');
    addRegisteredTeacherCommands(teacher);
    const printed: string[] = [];
    const write = vi.spyOn(process.stdout, 'write').mockImplementation((text) => {
      printed.push(String(text).trimEnd());
      return true;
    });
    try {
      await teacher.parseAsync([...words, '--api', api.url, '--key', key], { from: 'user' });
    } finally {
      write.mockRestore();
    }
    return printed;
  };
  const register = (url = fake.baseUrl, ...more: string[]): Promise<string[]> => run('register', '--name', 'big', '--url', url, '--model', 'fake', ...more);

  it('registers a teacher with the key from the environment, lists, probes and removes it', async () => {
    vi.stubEnv('BIG_TEACHERS_KEY', 'sk-0123456789-abcdef');
    const [id] = await register(fake.baseUrl, '--key-env', 'BIG_TEACHERS_KEY');
    expect(id).toMatch(/^teacher-/);
    expect(await run('list')).toEqual([`${id}  big  fake  ${fake.baseUrl}  not probed`]);
    expect(await run('probe', id)).toEqual(['ok, HTTP 200']);
    expect(fake.received.map(({ authorization }) => authorization)).toEqual(['Bearer sk-0123456789-abcdef']);
    fake.next('/v1/models', { kind: 'status', status: 302, body: '' });
    expect(await run('probe', id)).toEqual(['refused, HTTP 302, redirect']);
    expect(await run('list')).toEqual([`${id}  big  fake  ${fake.baseUrl}  refused`]);
    expect(await run('remove', id)).toEqual([`removed ${id}`]);
    expect(await run('list')).toEqual([]);
  });

  it('says what was wrong: no such variable, an address that is not allowed', async () => {
    await expect(register(fake.baseUrl, '--key-env', 'NO_SUCH_VARIABLE')).rejects.toMatchObject({ code: 'config.secret_missing' });
    await expect(register('http://192.168.0.1:8000')).rejects.toThrow(/rule not_listed/);
    expect(await run('list')).toEqual([]);
  });
});

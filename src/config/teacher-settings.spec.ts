import { afterEach, describe, expect, it, vi } from 'vitest';
import { parseTeacherSettings, teacherEnvironment, teacherSettingsFromEnvironment } from './teacher-settings.js';

afterEach(() => {
  vi.unstubAllEnvs();
});

describe('teacherSettingsFromEnvironment', () => {
  it('reads what teacherEnvironment wrote', () => {
    const input = { modelDir: '/models/a', port: 0, apiKey: 'k', maxLogprobs: 20, threads: 3, shutdownGraceMs: 5 };
    const variables = teacherEnvironment(input);
    expect(variables).toMatchObject({ LIMBECK_TEACHER_MODEL_DIR: '/models/a', LIMBECK_TEACHER_API_KEY: 'k', LIMBECK_TEACHER_SHUTDOWN_GRACE_MS: '5' });
    for (const [name, value] of Object.entries(variables)) vi.stubEnv(name, value);
    expect(teacherSettingsFromEnvironment()).toEqual(parseTeacherSettings(input));
  });

  it('names every variable that is unknown, malformed or missing', () => {
    vi.stubEnv('LIMBECK_TEACHER_SPEED', '9');
    vi.stubEnv('LIMBECK_TEACHER_PORT', 'http');
    expect(() => teacherSettingsFromEnvironment()).toThrowError(
      expect.objectContaining({
        code: 'config.teacher_settings_invalid',
        message: expect.stringMatching(/LIMBECK_TEACHER_MODEL_DIR: .*LIMBECK_TEACHER_PORT: .*LIMBECK_TEACHER_SPEED is not a setting/),
      }),
    );
  });
});

describe('parseTeacherSettings', () => {
  it('fills in the defaults', () => {
    expect(parseTeacherSettings({ modelDir: 'm' })).toMatchObject({ host: '127.0.0.1', port: 8000, maxLogprobs: 64, maxSequences: 32, queueLimit: 1024, retryAfterSeconds: 1 });
  });

  it.each([{ port: 70_000 }, { threads: 0 }, { maxLogprobs: 1.5 }, { queueLimit: 'many' }])('refuses %o', (wrong) => {
    expect(() => parseTeacherSettings({ modelDir: 'm', ...wrong })).toThrowError(expect.objectContaining({ code: 'config.teacher_settings_invalid' }));
  });
});

import { defineConfig } from 'vitest/config';

/** The chaos suite at its full counts: `npm run test:chaos`. `npm test` has its short forms. */
export default defineConfig({
  test: {
    pool: 'forks',
    env: { OMP_WAIT_POLICY: 'passive' },
    fileParallelism: false,
    testTimeout: 1_800_000,
    hookTimeout: 300_000,
    reporters: ['default', './test/support/count-reporter.ts'],
    globalSetup: ['./test/support/service-servers-setup.ts'],
    include: ['test/chaos/**/*.spec.ts'],
  },
});

import { readFileSync } from 'node:fs';
import { defineConfig } from 'vitest/config';

/** What depends on the instruction set: the kernels, and the memory that their products take. */
const byInstructionSet = ['kernels/**/*.spec.ts', 'test/medium/memory-forecast.spec.ts'];
const hasTileUnits = /^flags.*\bamx_bf16\b/m.test(readFileSync('/proc/cpuinfo', 'utf8'));

export default defineConfig({
  test: {
    pool: 'forks',
    env: { OMP_WAIT_POLICY: 'passive' }, // spinning threads of two processes on few cores slow each other down by orders of magnitude
    // Tests that start engines and servers share two cores: one file at a time keeps them from starving each other.
    fileParallelism: false,
    testTimeout: 120_000,
    hookTimeout: 300_000,
    reporters: ['default', './test/support/count-reporter.ts'],
    projects: [
      { extends: true, test: { name: 'here', globalSetup: ['./test/support/service-servers-setup.ts'], include: ['src/**/*.spec.ts', 'kernels/**/*.spec.ts', 'test/**/*.spec.ts'], exclude: ['test/chaos/**'] } },
      // Once more as on a host without AVX-512 and bf16 instructions.
      { extends: true, test: { name: 'avx2', include: byInstructionSet, env: { DNNL_MAX_CPU_ISA: 'AVX2' } } },
      // And, where the CPU has tile units, as on a host with AVX-512 bf16 alone.
      ...(hasTileUnits ? [{ extends: true as const, test: { name: 'avx512', include: byInstructionSet, env: { DNNL_MAX_CPU_ISA: 'AVX512_CORE_BF16' } } }] : []),
    ],
  },
});

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

/** What depends on the instruction set: the kernels, and the memory that their products take. */
const byInstructionSet = ['kernels/**/*.spec.ts', 'test/medium/memory-forecast.spec.ts'];
const units = ['src/**/*.spec.ts', 'kernels/**/*.spec.ts'];
/** After the units. All go two files at a time: on two cores that takes the whole parts two thirds of the time of one by one, for much of it processes start, or die. */
const later = { maxWorkers: 2, sequence: { groupOrder: 1 } };
const cpu = readFileSync('/proc/cpuinfo', 'utf8');
const hasBf16 = /^flags.*\bavx512_bf16\b/m.test(cpu);
const hasTileUnits = /^flags.*\bamx_bf16\b/m.test(cpu);

/** The kernels' code for instructions that this CPU has not, over a model of them. What concerns no operation is left out. @param maxIsa a name of oneDNN's. */
const modelled = (name: string, maxIsa: string) => ({
  extends: true as const,
  resolve: { alias: [{ find: /^\.\/choose-library\.js$/, replacement: fileURLToPath(new URL('test/support/kernels/choose-instruction-model.ts', import.meta.url)) }] },
  test: { name, include: ['kernels/ops/**/*.spec.ts'], globalSetup: ['./test/support/kernels/instruction-model-setup.ts'], setupFiles: ['./test/support/kernels/expect-instruction-model.ts'], env: { DNNL_MAX_CPU_ISA: maxIsa }, ...later },
});

export default defineConfig({
  test: {
    pool: 'forks',
    env: { OMP_WAIT_POLICY: 'passive' }, // spinning threads of two processes on few cores slow each other down by orders of magnitude
    testTimeout: 120_000,
    hookTimeout: 300_000,
    reporters: ['default', './test/support/count-reporter.ts'],
    projects: [
      { extends: true, test: { name: 'units', include: units, maxWorkers: 2, sequence: { groupOrder: 0 } } },
      { extends: true, test: { name: 'whole', globalSetup: ['./test/support/service-servers-setup.ts'], include: ['test/**/*.spec.ts'], exclude: ['test/chaos/**'], ...later } },
      // Once more as on a host without AVX-512 and bf16 instructions, unless this is one.
      ...(hasBf16 ? [{ extends: true as const, test: { name: 'avx2', include: byInstructionSet, env: { DNNL_MAX_CPU_ISA: 'AVX2' }, ...later } }] : []),
      ...(hasBf16 ? [] : [modelled('avx512, modelled', 'AVX512_CORE_BF16')]),
      ...(hasTileUnits ? [] : [modelled('amx, modelled', 'AVX512_CORE_AMX')]),
      // And, where it has tile units, as on a host with AVX-512 bf16 alone.
      ...(hasTileUnits ? [{ extends: true as const, test: { name: 'avx512', include: byInstructionSet, env: { DNNL_MAX_CPU_ISA: 'AVX512_CORE_BF16' }, ...later } }] : []),
    ],
  },
});

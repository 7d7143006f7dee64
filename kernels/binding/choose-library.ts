import { CpuUnsupported } from './kernels.errors.js';

/** The builds of the native library that `kernels/build.mjs` makes. */
export type KernelLibrary = 'avx512' | 'avx2';

const avx2Flags = ['avx2', 'fma', 'f16c'];
const avx512Flags = ['avx512f', 'avx512bw', 'avx512vl', 'avx512dq', 'avx512_bf16'];

/** The instruction flags of the first processor in a text in the form of /proc/cpuinfo. */
export function cpuFlags(cpuinfo: string): ReadonlySet<string> {
  const line = /^flags\s*:(.*)$/m.exec(cpuinfo);
  return new Set(line ? line[1].trim().split(/\s+/) : []);
}

/**
 * The AVX-512 build needs bf16 instructions and leave to use them: a `maxIsa` (the value of DNNL_MAX_CPU_ISA, in oneDNN's names of instruction sets) below
 * AVX512_CORE_BF16 asks for the AVX2 build, so that a host without them can be tried on one that has them.
 * @throws CpuUnsupported when the CPU has not even AVX2, FMA and F16C.
 */
export function chooseLibrary(flags: ReadonlySet<string>, maxIsa: string | undefined): KernelLibrary {
  const missing = avx2Flags.filter((flag) => !flags.has(flag));
  if (missing.length > 0) throw new CpuUnsupported(missing);
  return avx512Flags.every((flag) => flags.has(flag)) && allowsBf16(maxIsa) ? 'avx512' : 'avx2';
}

function allowsBf16(maxIsa: string | undefined): boolean {
  const name = maxIsa?.toUpperCase() ?? '';
  return ['', 'ALL', 'DEFAULT'].includes(name) || /BF16|FP16|AMX/.test(name);
}

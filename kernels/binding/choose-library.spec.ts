import { describe, expect, it } from 'vitest';
import { chooseLibrary, cpuFlags } from './choose-library.js';
import { CpuUnsupported } from './kernels.errors.js';

const avx2 = ['avx2', 'fma', 'f16c'];
const bf16 = [...avx2, 'avx512f', 'avx512bw', 'avx512vl', 'avx512dq', 'avx512_bf16'];

describe('chooseLibrary', () => {
  it.each([
    [bf16, undefined, 'avx512'],
    [bf16, 'ALL', 'avx512'],
    [bf16, 'avx512_core_bf16', 'avx512'],
    [bf16, 'AVX512_CORE_AMX', 'avx512'],
    [bf16, 'AVX2', 'avx2'],
    [bf16, 'AVX512_CORE', 'avx2'],
    [bf16.filter((flag) => flag !== 'avx512_bf16'), undefined, 'avx2'],
    [avx2, undefined, 'avx2'],
  ])('of flags %j under DNNL_MAX_CPU_ISA=%s is %s', (flags, maxIsa, library) => {
    expect(chooseLibrary(new Set(flags), maxIsa)).toBe(library);
  });

  it('refuses a CPU without AVX2 and names what is missing', () => {
    expect(() => chooseLibrary(new Set(['sse4_2', 'f16c']), undefined)).toThrow(CpuUnsupported);
    expect(() => chooseLibrary(new Set(['sse4_2', 'f16c']), undefined)).toThrow(/avx2, fma/);
  });
});

describe('cpuFlags', () => {
  it('reads the first processor and is empty when there is no such line', () => {
    const text = 'processor\t: 0\nvmx flags\t: other\nflags\t\t: fpu avx2  fma\n\nprocessor\t: 1\nflags\t\t: none\n';
    expect([...cpuFlags(text)]).toEqual(['fpu', 'avx2', 'fma']);
    expect(cpuFlags('model name : unknown').size).toBe(0);
  });
});

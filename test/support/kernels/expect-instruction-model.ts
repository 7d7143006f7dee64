import { loadKernels } from '../../../kernels/binding/kernels.js';

// Otherwise specs that are meant for the model would pass on the product's own library, and nobody would know.
const isa = process.env['DNNL_MAX_CPU_ISA'] === 'AVX512_CORE_AMX' ? 'amx_bf16' : 'avx512_bf16';
const build = loadKernels().buildInfo();
if (!build.includes(` library=model isa=${isa} `)) throw new Error(`these specs run on the model of ${isa}; loaded is ${build}`);

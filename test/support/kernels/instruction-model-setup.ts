import { buildKernels } from '../../../kernels/build.mjs';

/** Builds the kernels over the model of instructions, once before all specs that run on it. */
export async function setup(): Promise<void> {
  await buildKernels({ names: ['model'] });
}

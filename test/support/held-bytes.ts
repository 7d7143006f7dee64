import { loadKernels } from '../../kernels/binding/kernels.js';

/** Native memory that this process holds, to which a test adds what an engine is to have. */
export function heldBytes(): number {
  const kernels = loadKernels();
  return kernels.allocatedBytes() + kernels.workspaceBytes();
}

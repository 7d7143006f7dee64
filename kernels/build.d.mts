/** See build.mjs. */
export function buildKernels(options?: { readonly log?: (line: string) => void; readonly dir?: string; readonly names?: readonly ('avx512' | 'avx2' | 'bench' | 'model')[] }): Promise<string[]>;

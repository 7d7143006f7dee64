/** See build.mjs. */
export function buildKernels(options?: { readonly log?: (line: string) => void; readonly dir?: string }): Promise<string[]>;

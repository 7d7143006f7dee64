/**
 * Errors of loading the kernels, in the form of `AppError` (a stable code and a kind); this folder imports nothing of the product.
 * The operations themselves throw an Error whose `code` is `kernels.bad_shape` and so on.
 */

/** The native library for this CPU has not been built. */
export class KernelsNotBuilt extends Error {
  readonly code = 'kernels.not_built';
  readonly kind = 'missing';
  constructor(readonly path: string) {
    super(`the native kernels are not built (${path} is missing); run \`npm run setup\``);
    this.name = new.target.name;
  }
}

/** The CPU lacks instructions that every build of the kernels needs. */
export class CpuUnsupported extends Error {
  readonly code = 'kernels.cpu_unsupported';
  readonly kind = 'invalid';
  constructor(readonly missing: readonly string[]) {
    super(`this CPU lacks ${missing.join(', ')}; the native kernels need an x86-64 CPU with AVX2, FMA and F16C (most made since 2013)`);
    this.name = new.target.name;
  }
}

import type { Kernels } from '../../../kernels/binding/kernels.js';

/** Calls as they were made, to be made again on the same tensors: what decides which calls they are is then not worked out again. */
export class Recording {
  /** Computes, and remembers. Handles must stay valid for as long as `again` is called. */
  readonly kernels: Kernels;
  private readonly calls: (() => void)[] = [];

  constructor(kernels: Kernels) {
    this.kernels = Object.fromEntries(Object.entries(kernels).map(([name, call]) => [name, typeof call === 'function' ? this.remembering(call as (...args: unknown[]) => unknown) : call])) as unknown as Kernels;
  }

  /** Makes every call once more, in order. */
  again(): void {
    for (const call of this.calls) call();
  }

  private remembering(call: (...args: unknown[]) => unknown): (...args: unknown[]) => unknown {
    return (...args) => {
      this.calls.push(() => void call(...args));
      return call(...args);
    };
  }
}

import type { LazyTensor } from './safetensors.js';

/** How far a long piece of work has come: `done` of `total` units, and what is being done, in words. */
export interface Progress {
  readonly done: number;
  readonly total: number;
  readonly what: string;
}

/** Told about each step of a long piece of work; must not throw. */
export type OnProgress = (event: Progress) => void;

/** The same tensors, each of which reports when it has been read; `verb` says what was done to it, in the past tense. */
export function reportReads(tensors: readonly LazyTensor[], { verb, onProgress }: { verb: string; onProgress?: OnProgress }): readonly LazyTensor[] {
  if (onProgress === undefined) return tensors;
  let done = 0;
  return tensors.map((tensor) => ({
    ...tensor,
    read: async () => {
      const bytes = await tensor.read();
      done += 1;
      onProgress({ done, total: tensors.length, what: `${verb} ${tensor.name}` });
      return bytes;
    },
  }));
}

import type { Probes } from '../../../kernels/bench/probes.js';
import type { Kernels } from '../../../kernels/binding/kernels.js';
import type { Figure } from './figure.js';
import type { ShapeName } from './shapes.js';

/** What a case measures with, inside its own process. */
export interface Setting {
  /** The functions that the engine of this process calls, too. */
  readonly kernels: Kernels;
  readonly probes: Probes;
  readonly threads: number;
  /** Turns of ours and the limit, >= 1; a ratio is that of their medians. */
  readonly rounds: number;
  /** A directory of random weights of the case's `model`. */
  readonly modelDir: string;
  /** Bytes of each buffer of the memory probes. */
  readonly bufferBytes: number;
}

/** Figures that are measured together, in a process of their own: nothing else's memory, threads or crash is in them. */
export interface Case {
  /** What the rows begin with; rows that a goal of the project judges begin with "gate". */
  readonly name: string;
  /** Sizes, as the rows say them. With the name unique. */
  readonly shape: string;
  /** The student whose random weights it needs; of some fewer layers, where `layers` says so. */
  readonly model?: { readonly name: ShapeName; readonly layers?: number };
  /** `standard`: part of every run; `full`: of the whole table only. */
  readonly scope: 'standard' | 'full';
  readonly measure: (setting: Setting) => Figure[] | Promise<Figure[]>;
}

/** How `--only` and progress name a case. */
export function titleOf({ name, shape }: Pick<Case, 'name' | 'shape'>): string {
  return `${name}, ${shape}`;
}

/** Cases of the run: those of its scope whose title contains `only`. */
export function chosen(cases: readonly Case[], { full, only = '' }: { readonly full: boolean; readonly only?: string }): Case[] {
  return cases.filter((entry) => (full || entry.scope === 'standard') && titleOf(entry).includes(only));
}

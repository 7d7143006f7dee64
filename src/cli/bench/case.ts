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
  /** What a memory probe passes over, all its streams together. */
  readonly probedBytes: number;
}

/** `standard`: part of every run; `full`: of the whole table only; `trial`: every measurement at a size that says nothing, to see that it runs. */
export type Scope = 'standard' | 'full' | 'trial';

/** The student whose random weights a case needs; of fewer layers, where `layers` says so. */
export interface CaseModel {
  readonly name: ShapeName;
  readonly layers?: number;
}

/** How a case's shape names its student. */
export function modelText({ name, layers }: CaseModel): string {
  return layers === undefined ? name : `${name} with ${layers} layers`;
}

/** Figures that are measured together, in a process of their own: nothing else's memory, threads or crash is in them. */
export interface Case {
  /** What the rows begin with; rows that a goal of the project judges begin with "gate". */
  readonly name: string;
  /** Sizes, as the rows say them. With the name unique. */
  readonly shape: string;
  readonly model?: CaseModel;
  readonly scope: Scope;
  readonly measure: (setting: Setting) => Figure[] | Promise<Figure[]>;
}

/** How `--only` and progress name a case. */
export function titleOf({ name, shape }: Pick<Case, 'name' | 'shape'>): string {
  return `${name}, ${shape}`;
}

/** Cases of a run: those of its scope (the whole table contains the standard one) whose title contains `only`. */
export function chosen(cases: readonly Case[], { scope, only = '' }: { readonly scope: Scope; readonly only?: string }): Case[] {
  const scopes: readonly Scope[] = scope === 'full' ? ['standard', 'full'] : [scope];
  return cases.filter((entry) => scopes.includes(entry.scope) && titleOf(entry).includes(only));
}

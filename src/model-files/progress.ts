/** How far a long piece of work has come: `done` of `total` units, and what is being done, in words. */
export interface Progress {
  readonly done: number;
  readonly total: number;
  readonly what: string;
}

/** Told about each step of a long piece of work; must not throw. */
export type OnProgress = (event: Progress) => void;

import { median } from '../median.js';

/** What one run brought besides its time. */
export interface Outcome {
  /** Mean loss before the run's update, for a training step. */
  readonly lossNats?: number;
}

/** One side of a comparison: a process or several, open and ready. */
export interface Contestant {
  /** What it is, with versions. */
  readonly name: string;
  /** Does the work once. */
  run(): Promise<Outcome>;
  /** Takes every core away from it, and gives them back. */
  freeze(): void;
  thaw(): void;
  /** The most memory that its processes have had resident, bytes, added up. */
  peakBytes(): number;
  close(): Promise<void>;
}

/** What one side did in a contest. */
export interface Result {
  readonly name: string;
  /** Of the timed runs, one each. */
  readonly seconds: readonly number[];
  /** Of all runs in order, the warm-up included; empty when the work has no loss. */
  readonly losses: readonly number[];
  readonly peakBytes: number;
}

/** How often both sides run: `warmUps` that are not timed, then `rounds` that are. */
export interface Schedule {
  readonly warmUps: number;
  readonly rounds: number;
}

/**
 * Runs both sides in turns, so that drift of the machine falls on both; whoever is not running is stopped and can use no core. Both must be fresh, and are left running.
 * @param clock milliseconds that never go back.
 */
export async function compete(sides: readonly [ours: Contestant, theirs: Contestant], { warmUps, rounds }: Schedule, clock: () => number): Promise<[ours: Result, theirs: Result]> {
  const seconds: [number[], number[]] = [[], []];
  const losses: [number[], number[]] = [[], []];
  for (const side of sides) side.freeze();
  for (let round = 0; round < warmUps + rounds; round++) {
    for (const [index, side] of sides.entries()) {
      side.thaw();
      const begin = clock();
      const { lossNats } = await side.run();
      if (round >= warmUps) seconds[index].push((clock() - begin) / 1000);
      if (lossNats !== undefined) losses[index].push(lossNats);
      side.freeze();
    }
  }
  const result = (index: 0 | 1): Result => ({ name: sides[index].name, seconds: seconds[index], losses: losses[index], peakBytes: sides[index].peakBytes() });
  for (const side of sides) side.thaw();
  return [result(0), result(1)];
}

/** A figure of ours beside a peer's, both of one run. */
export interface PeerFigure {
  readonly name: string;
  readonly peer: string;
  readonly ours: number;
  readonly theirs: number;
  readonly unit: string;
  /** ours / theirs. */
  readonly ratio: number;
}

/** The rate at which both did `amount` of `unit` a run, by the medians of their runs. */
export function rateFigure(name: string, [ours, theirs]: readonly [Result, Result], { amount, unit }: { readonly amount: number; readonly unit: string }): PeerFigure {
  return figure(name, theirs.name, [amount / median(ours.seconds), amount / median(theirs.seconds)], `${unit}/s`);
}

/** The most memory of both, in MiB. */
export function memoryFigure(name: string, [ours, theirs]: readonly [Result, Result]): PeerFigure {
  return figure(name, theirs.name, [ours.peakBytes / 2 ** 20, theirs.peakBytes / 2 ** 20], 'MiB');
}

/** The losses at the step where the curves differ most, relative to theirs. Both must have the same length, at least 1. */
export function curveFigure(name: string, [ours, theirs]: readonly [Result, Result]): PeerFigure {
  const differences = ours.losses.map((loss, step) => Math.abs(loss / theirs.losses[step] - 1));
  const worst = differences.indexOf(Math.max(...differences));
  return figure(`${name}, step ${worst + 1} of ${differences.length}, where the losses differ most`, theirs.name, [ours.losses[worst], theirs.losses[worst]], 'nats');
}

function figure(name: string, peer: string, [ours, theirs]: readonly [number, number], unit: string): PeerFigure {
  return { name, peer, ours, theirs, unit, ratio: ours / theirs };
}

/** Both loss curves as text, a step a column. */
export function curveTable([ours, theirs]: readonly [Result, Result]): string {
  const row = ({ name, losses }: Result): string => `${losses.map((loss) => loss.toFixed(4)).join(' ')}  ${name}`;
  return [row(ours), row(theirs)].join('\n');
}

/** The figures as a Markdown table. */
export function peerTable(figures: readonly PeerFigure[]): string {
  return ['| figure | peer | ours | theirs | unit | ours / theirs |', '| --- | --- | ---: | ---: | --- | ---: |', ...figures.map(figureLine)].join('\n');
}

/** One figure as a row of that table. */
export function figureLine({ name, peer, ours, theirs, unit, ratio }: PeerFigure): string {
  return `| ${name} | ${peer} | ${digits(ours)} | ${digits(theirs)} | ${unit} | ${ratio.toFixed(3)} |`;
}

function digits(value: number): string {
  return value.toFixed(value < 100 ? 4 : 1);
}

import type { RunRules } from './runtime.js';
import type { Sequence } from './sequence.js';

/**
 * Chooses which sequences run next. Turns alternate between reading prompts and decoding while both wait, so that neither a long score nor a crowd
 * of answers holds up the other; within each, whoever has waited longest comes first and brings along all that can run with it.
 */
export class RunPlanner {
  private lastTurn: 'read' | 'decode' = 'decode';
  private turn = 0;
  private readonly servedAt = new WeakMap<Sequence, number>();

  constructor(private readonly rules: RunRules) {}

  /** @param active in order of arrival, at least one. @returns at least one, as the rules have it. */
  next(active: readonly Sequence[]): Sequence[] {
    const decoding = active.filter((sequence) => sequence.isDecoding);
    const reading = active.filter((sequence) => !sequence.isDecoding);
    this.lastTurn = reading.length > 0 && (decoding.length === 0 || this.lastTurn === 'decode') ? 'read' : 'decode';
    const chosen = this.fill(this.longestWaiting(this.lastTurn === 'read' ? reading : decoding));
    this.turn += 1;
    for (const sequence of chosen) this.servedAt.set(sequence, this.turn);
    return chosen;
  }

  private longestWaiting(sequences: readonly Sequence[]): readonly Sequence[] {
    const served = (sequence: Sequence): number => this.servedAt.get(sequence) ?? 0;
    return [...sequences].sort((a, b) => served(a) - served(b));
  }

  /** The first sequence and all that can run with it, as far as the rules allow. */
  private fill(candidates: readonly Sequence[]): Sequence[] {
    const [first] = candidates;
    const chosen = [first];
    let positions = first.layout.fresh;
    let rows = first.rowCount;
    for (const sequence of candidates.slice(1)) {
      if (!first.runsWith(sequence)) continue;
      if (positions + sequence.layout.fresh > this.rules.positions || rows + sequence.rowCount > this.rules.rows) break;
      positions += sequence.layout.fresh;
      rows += sequence.rowCount;
      chosen.push(sequence);
    }
    return chosen;
  }
}

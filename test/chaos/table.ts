/** One row of the chaos table. */
export interface ChaosRow {
  /** Number of the fault in the requirements, such as `C1`. */
  readonly id: string;
  readonly fault: string;
  readonly times: number;
  /** What had to hold. */
  readonly mustHold: string;
  /** What was seen, in figures. */
  readonly seen: string;
  /** What did not hold; empty when everything did. */
  readonly broken: readonly string[];
}

/** Gathers what did not hold. */
export class Claims {
  readonly broken: string[] = [];

  /** Notes `what` as broken unless the two are equal. */
  equal(what: string, seen: unknown, wanted: unknown): void {
    if (JSON.stringify(seen) !== JSON.stringify(wanted)) this.broken.push(`${what}: ${JSON.stringify(seen)}, not ${JSON.stringify(wanted)}`);
  }

  /** Notes `what` as broken unless it holds. */
  holds(what: string, does: boolean): void {
    if (!does) this.broken.push(what);
  }

  /** Notes `what` as broken when `seen` is above `most`. */
  atMost(what: string, seen: number, most: number): void {
    if (!(seen <= most)) this.broken.push(`${what}: ${seen}, above ${most}`);
  }
}

/** The table as it is printed. */
export function chaosTable(rows: readonly ChaosRow[]): string {
  const head = ['id', 'fault', 'times', 'had to hold', 'held', 'seen'];
  const cells = rows.map(({ id, fault, times, mustHold, broken, seen }) => [id, fault, String(times), mustHold, broken.length === 0 ? 'all' : `BROKEN: ${broken.join('; ')}`, seen]);
  const lines = [head, head.map(() => '---'), ...cells].map((line) => `| ${line.join(' | ')} |`);
  return lines.join('\n');
}

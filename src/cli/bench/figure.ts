/** One figure beside the machine's own limit, both measured in this run; `share` = value / limit. */
export interface Figure {
  readonly name: string;
  readonly shape: string;
  readonly value: number;
  readonly unit: string;
  readonly limit: number;
  readonly share: number;
  /** What the share should be, where the project has said so. */
  readonly goal?: Goal;
}

/** A bound of a figure's share. */
export interface Goal {
  readonly atLeast?: number;
  readonly atMost?: number;
}

/** Whether the figure's share is within its goal. */
export function holds({ share, goal: { atLeast = -Infinity, atMost = Infinity } = {} }: Figure): boolean {
  return share >= atLeast && share <= atMost;
}

/** The figures as a Markdown table; those with a goal say it, and whether it holds. */
export function figureTable(figures: readonly Figure[]): string {
  const withGoals = figures.some(({ goal }) => goal !== undefined);
  const head = withGoals
    ? ['| figure | shape | value | limit | share | goal | verdict |', '| --- | --- | ---: | ---: | ---: | ---: | --- |']
    : ['| figure | shape | value | limit | share |', '| --- | --- | ---: | ---: | ---: |'];
  return [...head, ...figures.map((figure) => figureLine(figure) + (withGoals ? ` ${goalCells(figure)} |` : ''))].join('\n');
}

/** One figure as a row of that table, without its goal. */
export function figureLine({ name, shape, value, unit, limit, share }: Figure): string {
  return `| ${name} | ${shape} | ${value.toFixed(1)} ${unit} | ${limit.toFixed(1)} ${unit} | ${share.toFixed(3)} |`;
}

function goalCells(figure: Figure): string {
  const { goal } = figure;
  if (!goal) return ' | ';
  return `${goal.atLeast === undefined ? `<= ${goal.atMost}` : `>= ${goal.atLeast}`} | ${holds(figure) ? 'holds' : 'MISSED'}`;
}

/** A figure from its value and its limit. */
export function figure(row: Omit<Figure, 'share'>): Figure {
  return { ...row, share: row.value / row.limit };
}

import type { Difference, Evaluation, RunReport } from '../distillation/report.js';

interface Row {
  readonly name: string;
  readonly cell: (evaluation: Evaluation) => string;
}

const nats = (value: number, low: number, high: number): string => `${value.toFixed(3)} [${low.toFixed(3)}, ${high.toFixed(3)}]`;
const percent = (share: number): string => `${(100 * share).toFixed(0)} %`;

const rows: readonly Row[] = [
  { name: 'forward KL, teacher text (nats)', cell: (e) => nats(e.forward_kl_teacher_text, e.forward_kl_teacher_text_low, e.forward_kl_teacher_text_high) },
  { name: 'reverse KL, own rollouts (nats)', cell: (e) => nats(e.reverse_kl_own_rollouts, e.reverse_kl_own_rollouts_low, e.reverse_kl_own_rollouts_high) },
  { name: 'top-1 agreement', cell: (e) => percent(e.top1_agreement) },
  { name: 'mean length (tokens)', cell: (e) => e.mean_length.toFixed(1) },
  { name: 'cut off at the limit', cell: (e) => percent(e.truncated_share) },
  { name: 'looping rollouts', cell: (e) => percent(e.loop_share) },
];

/** The evaluations side by side, then the paired differences, as Markdown that also reads well on a terminal. Brackets are 95 % intervals. */
export function resultTable(report: RunReport): string {
  const { evaluation } = report;
  const columns: readonly (readonly [string, Evaluation])[] = [
    ['teacher', evaluation.teacher],
    ['before', evaluation.before],
    ['after distill', evaluation.after_distill],
    ['after align', evaluation.after_align],
    ...(evaluation.controls ? ([['control: unigram', evaluation.controls.unigram], ['control: hard', evaluation.controls.hard]] as const) : []),
  ];
  const cells = [['held-out prompts', ...columns.map(([name]) => name)], ...rows.map((row) => [row.name, ...columns.map(([, e]) => row.cell(e))])];
  return `${markdown(cells)}\n\n${differenceLines(report.differences)}`;
}

function differenceLines(differences: RunReport['differences']): string {
  const line = (name: string, { value, low, high }: Difference): string => `${name}: ${value >= 0 ? '+' : ''}${nats(value, low, high)}`;
  return [
    line('distill changed forward KL by', differences.distill_forward_kl),
    line('distill changed reverse KL by', differences.distill_reverse_kl),
    line('align changed reverse KL by', differences.align_reverse_kl),
    'Differences are paired over prompts; brackets are 95 % bootstrap intervals; lower is better.',
  ].join('\n');
}

const STAGES: readonly (keyof RunReport['stages'])[] = ['collect', 'distill', 'align', 'evaluate', 'export'];

/** What each stage cost, in the order of the run: a report that came through the database has lost its own. */
export function stageTable(stages: RunReport['stages']): string {
  const lines = STAGES.map((name) => [name, stages[name].seconds.toFixed(1), String(stages[name].tokens), String(stages[name].teacher_calls)]);
  return markdown([['stage', 'seconds', 'tokens', 'teacher calls'], ...lines]);
}

/** A Markdown table whose columns also line up on a terminal; the first row is its head. */
export function markdown(cells: readonly (readonly string[])[]): string {
  const widths = cells[0].map((_, column) => Math.max(...cells.map((row) => row[column].length)));
  const line = (row: readonly string[]): string => `| ${row.map((text, column) => (column === 0 ? text.padEnd(widths[column]) : text.padStart(widths[column]))).join(' | ')} |`;
  const rule = `|${widths.map((width, column) => (column === 0 ? '-'.repeat(width + 2) : `${'-'.repeat(width + 1)}:`)).join('|')}|`;
  return [line(cells[0]), rule, ...cells.slice(1).map(line)].join('\n');
}

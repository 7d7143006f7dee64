import { describe, expect, it } from 'vitest';
import { stageTable } from './result-table.js';

describe('stageTable', () => {
  it('lists the stages in the order of the run, whatever order the report has', () => {
    const cost = { seconds: 1, tokens: 2, teacher_calls: 3 };
    const table = stageTable({ export: cost, align: { seconds: 12.34, tokens: 30, teacher_calls: 4 }, evaluate: cost, distill: cost, collect: cost });
    expect(table.split('\n').slice(2).map((line) => line.split('|')[1].trim())).toEqual(['collect', 'distill', 'align', 'evaluate', 'export']);
    expect(table).toContain('| align    |    12.3 |     30 |             4 |');
  });
});

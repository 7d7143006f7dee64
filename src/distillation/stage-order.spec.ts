import { expect, it } from 'vitest';
import { stagesOf } from './stage-order.js';

it('puts the controls last where they are asked for, so that the last stage writes the report', () => {
  const stages = (controls: 'none' | 'all') => stagesOf({ method: { distillation: { controls } } });

  expect(stages('none')).toEqual(['validate', 'collect', 'distill', 'align', 'evaluate', 'export']);
  expect(stages('all')).toEqual([...stages('none'), 'controls']);
});

import { describe, expect, it } from 'vitest';
import type { RunEvent } from '../distillation/events.js';
import { JobEvents } from './job-events.js';
import { stepTitle } from './progress.js';

const events = new JobEvents();
const told = (event: string, data: object): RunEvent[] => events.of({ id: '1', event, data: JSON.stringify(data) });
const happened = (type: string, data: object = {}, level = 'info', message = 'words'): RunEvent[] => told('event', { message, level, data: { type, seq: 1, ...data } });

describe('JobEvents', () => {
  it('shows stages, checks and warnings as distill does', () => {
    expect(happened('stage.started', { stage: 'collect', epoch: 1 })).toEqual([{ kind: 'stage_started', stage: 'collect', label: 'collect' }]);
    expect(happened('stage.resumed', { stage: 'align', epoch: 2 })).toEqual([{ kind: 'stage_started', stage: 'align', label: 'align' }]);
    expect(happened('stage.finished', { stage: 'collect', seconds: 3, tokens: 4 })).toEqual([{ kind: 'stage_finished', stage: 'collect', label: 'collect', seconds: 3 }]);
    expect(happened('check.warned', { check: 'memory', found: 'tight' }, 'warn')).toEqual([{ kind: 'check', name: 'memory', verdict: 'warned', found: 'tight' }]);
    expect(happened('check.passed', { check: 'memory', found: 'much' })).toEqual([{ kind: 'check', name: 'memory', verdict: 'passed', found: 'much' }]);
    expect(happened('checkpoint.loaded', { stage: 'distill', first_step: 5 })).toEqual([{ kind: 'resumed', stage: 'distill', firstStep: 5 }]);
    expect(happened('stage.lost', { stage: 'distill' }, 'warn', 'its worker is gone')).toEqual([{ kind: 'warning', message: 'its worker is gone' }]);
  });

  it('shows the last of the steps that came together, with the number of steps that progress told', () => {
    const progress = { stage: 'distill', label: 'distill', done: 2, total: 9, unit: 'steps', rate: 0.5 };
    expect(told('progress', { at: 1, ...progress })).toEqual([{ kind: 'progress', ...progress }]);
    const series = [
      { key: 'distill/loss', attempt: 1, points: [{ step: 1, value: 3, at: 1 }, { step: 2, value: 2, at: 2 }] },
      { key: 'distill/grad_norm', attempt: 1, points: [{ step: 2, value: 'NaN', at: 2 }] },
    ];
    expect(told('metrics', { at: 1, series })).toEqual([{ kind: 'step', metrics: expect.objectContaining({ stage: 'distill', step: 2, steps: 9, loss: 2, grad_norm: NaN }) }]);
  });

  it('claims no number of steps that progress did not tell', () => {
    const series = [{ key: 'align/loss', attempt: 1, points: [{ step: 3, value: 3, at: 1 }] }];
    const titles = (): string[] => told('metrics', { at: 1, series }).map((event) => (event.kind === 'step' ? stepTitle(event.metrics) : ''));
    expect(titles()).toEqual(['align step 3']);
    told('progress', { at: 1, stage: 'align', label: 'align', done: 3, total: 9, unit: 'steps', rate: 0.5 });
    expect(titles()).toEqual(['align step 3/9']);
  });

  it('passes over what it does not know', () => {
    expect(happened('model.created')).toEqual([]);
    expect(happened('stage.started', { stage: 'merge' })).toEqual([]);
    expect(told('status', { status: 'running' })).toEqual([]);
    expect(told('metrics', { series: [] })).toEqual([]);
    expect(told('progress', { done: 1 })).toEqual([]);
    expect(told('event', {})).toEqual([]);
  });
});

import { describe, expect, it } from 'vitest';
import type { PackedBatch } from '../../../src/tokens/batch.js';
import { LOSS_KINDS, ROW_METRICS } from '../../../src/tokens/loss.js';
import { compareGradients, type NamedNumbers, type TestedEngine } from '../../support/engines.js';
import { weightOf } from '../../support/scored-batch.js';
import { ADAM, FORWARD_KL, FROZEN, lossOf, SEQUENCES, type Contract } from './contract.js';

const M = ROW_METRICS.length;

/** The gradient held, or its norm from an engine that does not show it; then nothing is held. */
async function takeGradient(engine: TestedEngine): Promise<NamedNumbers> {
  const shown = await engine.readGradients?.();
  const { gradNorm } = await engine.optimStep(FROZEN);
  return shown ?? new Map([['norm', [gradNorm]]]);
}

/** `forward`, `forwardBackward` and `optimStep`. */
export function trainingContract({ open, batch, bounds }: Contract): void {
  describe('forwardBackward', () => {
    it.each(LOSS_KINDS)('%s sums weight x loss over the rows and reports each row', async (kind) => {
      const packed = await batch();
      const { lossNats, weightSum, rowMetrics_RM } = await (await open()).forwardBackward(packed, lossOf(kind), weightOf(packed));
      expect(rowMetrics_RM.length).toBe(packed.rows_R.length * M);
      expect(weightSum).toBe(weightOf(packed));
      const sum = packed.weights_R.reduce((total, weight, r) => total + weight * rowMetrics_RM[r * M], 0);
      expect(lossNats / sum).toBeCloseTo(1, 5);
    });

    it('adds to the gradients until optimStep, which forgets them', async () => {
      const engine = await open();
      const packed = await batch();
      await engine.forwardBackward(packed, FORWARD_KL, 10);
      const { gradNorm: once } = await engine.optimStep(FROZEN);
      expect(once).toBeGreaterThan(0.01);
      expect((await engine.optimStep(FROZEN)).gradNorm).toBe(0);
      await engine.forwardBackward(packed, FORWARD_KL, 10);
      await engine.forwardBackward(packed, FORWARD_KL, 10);
      expect((await engine.optimStep(FROZEN)).gradNorm / once).toBeCloseTo(2, 5);
    });

    it('divides by the normalizer', async () => {
      const engine = await open();
      const packed = await batch();
      await engine.forwardBackward(packed, FORWARD_KL, 10);
      const { gradNorm: whole } = await engine.optimStep(FROZEN);
      await engine.forwardBackward(packed, FORWARD_KL, 40);
      expect(whole / (await engine.optimStep(FROZEN)).gradNorm).toBeCloseTo(4, 2);
    });

    it('runs calls in the order they were made', async () => {
      const packed = await batch();
      const waiting = await open();
      await waiting.forwardBackward(packed, FORWARD_KL, 10);
      const { gradNorm } = await waiting.optimStep(FROZEN);
      const hasty = await open();
      const pending = [hasty.forwardBackward(packed, FORWARD_KL, 10), hasty.optimStep(FROZEN)] as const;
      expect((await Promise.all(pending))[1].gradNorm).toBe(gradNorm);
    });

    it.each([2, 4])('gives the same gradient when a step is cut into %i micro-batches', async (parts) => {
      const engine = await open();
      const whole = await batch();
      await engine.forwardBackward(whole, FORWARD_KL, weightOf(whole));
      const wanted = await takeGradient(engine);
      for (const part of cut(whole, parts)) await engine.forwardBackward(part, FORWARD_KL, weightOf(whole));
      expect(compareGradients(await takeGradient(engine), wanted).relativeL2).toBeLessThan(bounds.gradient);
    });

    it('gives a packed sequence the rows and the gradient that it has alone', async () => {
      const engine = await open();
      const whole = await batch();
      const packed = await engine.forwardBackward(whole, FORWARD_KL, 1);
      const wanted = await takeGradient(engine);
      const alone: number[] = [];
      for (const part of cut(whole, SEQUENCES.length)) alone.push(...(await engine.forwardBackward(part, FORWARD_KL, 1)).rowMetrics_RM);
      expect(compareGradients(await takeGradient(engine), wanted).relativeL2).toBeLessThan(bounds.gradient);
      expect(alone.length).toBe(packed.rowMetrics_RM.length);
      alone.forEach((value, i) => expect(Math.abs(value - packed.rowMetrics_RM[i])).toBeLessThan(bounds.nats));
    });

    it('needs no targets for hard, and says NaN where a teacher would be compared', async () => {
      const bare = { ...(await batch()), targets: undefined };
      const { rowMetrics_RM } = await (await open()).forwardBackward(bare, lossOf('hard'), 1);
      const absent = ROW_METRICS.filter((_name, m) => Number.isNaN(rowMetrics_RM[m]));
      expect(absent).toEqual(['forwardKl', 'reverseKl', 'teacherEntropy', 'supportMass', 'agreement']);
    });

    it('changes nothing for a batch without rows', async () => {
      const engine = await open();
      const empty: PackedBatch = { ...(await batch()), rows_R: new Int32Array(0), weights_R: new Float32Array(0), labels_R: new Int32Array(0), targets: undefined };
      expect(await engine.forwardBackward(empty, lossOf('hard'), 1)).toEqual({ lossNats: 0, weightSum: 0, rowMetrics_RM: new Float32Array(0) });
      expect((await engine.optimStep(FROZEN)).gradNorm).toBe(0);
    });
  });

  describe('forward', () => {
    it('gives the sums of forwardBackward, each time the same bits, and touches neither gradients nor weights', async () => {
      const engine = await open();
      const packed = await batch();
      const sums = await engine.forwardBackward(packed, FORWARD_KL, 10);
      expect(await engine.forward(packed, FORWARD_KL)).toEqual(sums);
      expect(await engine.forward(packed, lossOf('hard'))).not.toEqual(sums);
      const { gradNorm } = await engine.optimStep(FROZEN);
      await engine.forwardBackward(packed, FORWARD_KL, 10);
      expect((await engine.optimStep(FROZEN)).gradNorm).toBe(gradNorm);
      expect(await engine.forward(packed, FORWARD_KL)).toEqual(sums);
    });
  });

  describe('optimStep', () => {
    it('lowers the loss, and counts', async () => {
      const engine = await open();
      const packed = await batch();
      const { lossNats: before } = await engine.forward(packed, FORWARD_KL);
      for (let step = 0; step < 5; step++) {
        await engine.forwardBackward(packed, FORWARD_KL, weightOf(packed));
        await engine.optimStep(ADAM);
      }
      expect((await engine.forward(packed, FORWARD_KL)).lossNats).toBeLessThan(0.8 * before);
      expect((await engine.describe()).step).toBe(5);
    });

    it('returns the norm before clipping, and clips by it', async () => {
      const packed = await batch();
      const norms: number[] = [];
      const losses: number[] = [];
      // With a large eps the step is nearly linear in the gradient, so that clipping to a hundredth shows.
      for (const clip of [Infinity, 1e-2]) {
        const engine = await open();
        const { lossNats: before } = await engine.forwardBackward(packed, FORWARD_KL, weightOf(packed));
        norms.push((await engine.optimStep({ ...ADAM, weightDecay: 0, eps: 1, learningRate: 0.1, clip })).gradNorm);
        losses.push(before - (await engine.forward(packed, FORWARD_KL)).lossNats);
      }
      expect(norms[0]).toBe(norms[1]);
      expect(losses[0]).toBeGreaterThan(0);
      expect(losses[1] / losses[0]).toBeLessThan(0.3);
    });
  });
}

/** Cuts a batch between sequences into `parts` of nearly equal numbers of them. */
function cut(batch: PackedBatch, parts: number): PackedBatch[] {
  const sequences = batch.cuSeqlens_S1.length - 1;
  return Array.from({ length: parts }, (_, part) => slice(batch, Math.floor((part * sequences) / parts), Math.floor(((part + 1) * sequences) / parts)));
}

function slice({ targets, ...batch }: PackedBatch, from: number, to: number): PackedBatch {
  const [begin, end] = [batch.cuSeqlens_S1[from], batch.cuSeqlens_S1[to]];
  const first = batch.rows_R.findIndex((row) => row >= begin);
  const next = batch.rows_R.findIndex((row) => row >= end);
  const last = next < 0 ? batch.rows_R.length : next;
  const [firstEntry, lastEntry] = [targets?.offsets_R1[first] ?? 0, targets?.offsets_R1[last] ?? 0];
  return {
    tokens_N: batch.tokens_N.slice(begin, end),
    cuSeqlens_S1: batch.cuSeqlens_S1.slice(from, to + 1).map((at) => at - begin),
    rows_R: batch.rows_R.slice(first, last).map((row) => row - begin),
    weights_R: batch.weights_R.slice(first, last),
    labels_R: batch.labels_R.slice(first, last),
    targets: targets && {
      offsets_R1: targets.offsets_R1.slice(first, last + 1).map((at) => at - firstEntry),
      ids_E: targets.ids_E.slice(firstEntry, lastEntry),
      logProbs_E: targets.logProbs_E.slice(firstEntry, lastEntry),
      tail_R: targets.tail_R.slice(first, last),
    },
  };
}

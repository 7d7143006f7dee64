import { readFileSync, writeFileSync } from 'node:fs';
import { LOSS_CODES, type Kernels } from '../../../kernels/binding/kernels.js';
import type { PackedTargets } from '../../tokens/batch.js';
import { ROW_METRICS } from '../../tokens/loss.js';
import { distillBatch } from './batches.js';
import type { Case, Scope, Setting } from './case.js';
import { figure, type Figure } from './figure.js';
import { linearWorks } from './linear.js';
import { createProduct } from './onednn.js';
import { SHAPES, type ShapeName } from './shapes.js';
import { headLinear, linearProducts } from './step-products.js';
import { Tensors } from './tensors.js';
import { mediansInTurns } from './turns.js';

/** Turns of the head for each that was asked for: seven works a turn, and machines whose speed wanders, leave few turns' medians far apart. */
const TURNS = 3;

/** Head, loss and gradients against the three bare products of the same sizes: the faster of oneDNN and our own, each. */
export function headCase(model: ShapeName, rows: number, scope: Scope): Case {
  const shape = `${model}: ${rows} rows, ${SHAPES[model].vocabSize} ids, width ${SHAPES[model].hiddenSize}`;
  return { name: 'gate head', shape, scope, measure: (setting) => [headAgainstProducts(setting, { model, rows, shape })] };
}

function headAgainstProducts({ kernels, probes, rounds }: Setting, { model, rows, shape }: { model: ShapeName; rows: number; shape: string }): Figure {
  const linear = headLinear(SHAPES[model]);
  const tensors = new Tensors(kernels);
  const bare = new Tensors(kernels);
  const handles = linearProducts(linear, rows).map((product) => createProduct(probes, product, 'plain'));
  const seconds = mediansInTurns(TURNS * rounds, [headWork(kernels, tensors, { model, rows }), ...linearWorks(kernels, bare, linear, rows), ...handles.map((handle) => () => void probes.runProduct(handle))]);
  handles.forEach((handle) => probes.freeProduct(handle));
  tensors.free();
  bare.free();
  const [head, ...products] = seconds.map((each) => 1000 * each);
  const limit = [0, 1, 2].reduce((sum, kind) => sum + Math.min(products[kind], products[kind + 3]), 0);
  return figure({ name: 'gate head', shape, value: head, unit: 'ms', limit, goal: { atMost: 1.35 } });
}

/** Memory that head, loss and gradients take beside their operands and results, against the tensor of float32 logits that they never make. */
export function headMemoryCase(model: ShapeName, rows: number, scope: Scope): Case {
  const { vocabSize, hiddenSize } = SHAPES[model];
  const shape = `${rows} rows, ${vocabSize} ids, width ${hiddenSize}`;
  return {
    name: 'gate head memory',
    shape,
    scope,
    measure: ({ kernels }) => {
      const tensors = new Tensors(kernels);
      const work = headWork(kernels, tensors, { model, rows });
      const value = extraBytes(work) / 2 ** 20;
      tensors.free();
      return [figure({ name: 'gate head memory', shape, value, unit: 'MiB', limit: (4 * rows * vocabSize) / 2 ** 20, goal: { atMost: 0.1 } })];
    },
  };
}

/** One call of the head on random operands, every one of them in memory already. */
function headWork(kernels: Kernels, tensors: Tensors, { model, rows }: { model: ShapeName; rows: number }): () => void {
  const { vocabSize, hiddenSize } = SHAPES[model];
  const batch = distillBatch(vocabSize, { lengths: [rows + 1] });
  const { offsets_R1, ids_E, logProbs_E, tail_R } = batch.targets as PackedTargets;
  const hidden = tensors.random('bf16', [rows, hiddenSize]);
  const weight = tensors.random('bf16', [vocabSize, hiddenSize]);
  const [labels, scale] = [tensors.of(batch.labels_R), tensors.of(batch.weights_R)];
  const [offsets, ids, logProbs, tail] = [offsets_R1, ids_E, logProbs_E, tail_R].map((values) => tensors.of(values));
  const metrics = tensors.zeros('f32', [rows, ROW_METRICS.length]);
  const dhidden = tensors.zeros('bf16', [rows, hiddenSize]);
  const dweight = tensors.zeros('f32', [vocabSize, hiddenSize]);
  return () => kernels.distillHead(LOSS_CODES.forward_kl, hidden, weight, labels, scale, offsets, ids, logProbs, tail, metrics, dhidden, dweight);
}

/** Bytes by which the work raises the most memory that the process has held. Linux counts that anew once told so. */
function extraBytes(work: () => void): number {
  writeFileSync('/proc/self/clear_refs', '5');
  const before = statusBytes('VmRSS');
  work();
  return statusBytes('VmHWM') - before;
}

function statusBytes(field: 'VmRSS' | 'VmHWM'): number {
  const found = new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(readFileSync('/proc/self/status', 'utf8'));
  if (!found) throw new Error(`/proc/self/status has no ${field}`);
  return 1024 * Number(found[1]);
}

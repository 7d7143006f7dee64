import { ELEMENT_TYPES } from './onnx-schema.js';
import type { GraphBuilder, Value } from './graph-builder.js';

/** What is asked of each row of logits; see `writeTeacherModel`. */
export interface TeacherHeadInputs {
  /** float32 [R, V] */
  readonly logits_RV: Value;
  readonly vocabSize: number;
  readonly labels_R: Value;
  readonly k_1: Value;
  readonly temperature_R: Value;
  readonly uniform_R: Value;
}

/**
 * Ids of one block. Sums over the vocabulary go block by block: a running sum over 49k ids is slow and imprecise, and a block always starts on a
 * vector boundary, so that the bits of a row do not depend on where in the batch it lies.
 */
const BLOCK = 256;

/** Adds what the teacher gives back of each row: best ids, the label's logit, log-sum-exp and a draw. Declares these outputs. */
export function addTeacherHead(graph: GraphBuilder, inputs: TeacherHeadInputs): void {
  const { logits_RV, labels_R } = inputs;
  graph.nodeWithResults('TopK', [logits_RV, inputs.k_1], { attributes: { axis: { int: 1 } }, as: ['top_logits', 'top_ids'] });
  const labelLogits_R1 = addPick(graph, { logits_RV, ids_R: labels_R, as: 'label_logits' });
  addRank(graph, logits_RV, labelLogits_R1);
  const shifted = addShifted(graph, inputs);
  addLogSumExp(graph, shifted);
  addDraw(graph, shifted, inputs);
  addPick(graph, { logits_RV, ids_R: 'sampled_ids', as: 'sampled_logits' });
  graph.output('top_ids', 'int64', ['rows', 'k']);
  graph.output('top_logits', 'float32', ['rows', 'k']);
  graph.output('sampled_ids', 'int64', ['rows']);
  graph.output('label_ranks', 'int64', ['rows']);
  for (const name of ['label_logits', 'log_sum_exp', 'sampled_logits']) graph.output(name, 'float32', ['rows']);
}

/** The logit of one id a row. @returns the same as [R, 1]. */
function addPick(graph: GraphBuilder, pick: { readonly logits_RV: Value; readonly ids_R: Value; readonly as: Value }): Value {
  const ids_R1 = graph.node('Unsqueeze', [pick.ids_R, graph.ints(1)], { as: `${pick.as}_ids_R1` });
  const picked_R1 = graph.node('GatherElements', [pick.logits_RV, ids_R1], { attributes: { axis: { int: 1 } }, as: `${pick.as}_R1` });
  graph.node('Squeeze', [picked_R1, graph.ints(1)], { as: pick.as });
  return picked_R1;
}

/** How many ids have at least the label's logit, the label included: its rank as vLLM counts it. */
function addRank(graph: GraphBuilder, logits_RV: Value, labelLogits_R1: Value): void {
  const atLeast_RV = graph.node('GreaterOrEqual', [logits_RV, labelLogits_R1]);
  // Counts up to 2^24 are exact in float32.
  const rank_R = graph.node('ReduceSum', [toFloat32(graph, atLeast_RV), graph.ints(1)], { attributes: { keepdims: { int: 0 } } });
  graph.node('Cast', [rank_R], { attributes: { to: { int: ELEMENT_TYPES.int64 } }, as: 'label_ranks' });
}

interface Shifted {
  /** float32 [R, 1], the largest logit. */
  readonly max_R1: Value;
  /** float32 [R, V rounded up to blocks], logit minus the largest; what is beyond V counts as probability 0. */
  readonly shifted_RW: Value;
}

function addShifted(graph: GraphBuilder, { logits_RV, vocabSize }: TeacherHeadInputs): Shifted {
  const max_R1 = graph.node('ReduceMax', [logits_RV, graph.ints(1)], { as: 'max_R1' });
  const shifted_RV = graph.node('Sub', [logits_RV, max_R1], { as: 'shifted_RV' });
  const missing = (BLOCK - (vocabSize % BLOCK)) % BLOCK;
  if (missing === 0) return { max_R1, shifted_RW: shifted_RV };
  const shifted_RW = graph.node('Pad', [shifted_RV, graph.ints(0, 0, 0, missing), graph.float(-Infinity)], { as: 'shifted_RW' });
  return { max_R1, shifted_RW };
}

/** Exponentials and their sums, the latter in float64: sampling compares differences of sums, which float32 would lose. */
interface Masses {
  /** float32 [R, blocks, BLOCK] */
  readonly each_RbB: Value;
  /** float64 [R, blocks] */
  readonly sums_Rb: Value;
}

function addMasses(graph: GraphBuilder, exponents_RW: Value, name: string): Masses {
  const each_RW = graph.node('Exp', [exponents_RW], { as: `${name}_RW` });
  const each_RbB = graph.node('Reshape', [each_RW, graph.ints(0, -1, BLOCK)], { as: `${name}_RbB` });
  const sums = graph.node('ReduceSum', [each_RbB, graph.ints(2)], { attributes: { keepdims: { int: 0 } }, as: `${name}_sums` });
  return { each_RbB, sums_Rb: toFloat64(graph, sums) };
}

function addLogSumExp(graph: GraphBuilder, { max_R1, shifted_RW }: Shifted): void {
  const { sums_Rb } = addMasses(graph, shifted_RW, 'mass');
  const total_R1 = addLast(graph, addRunningSum(graph, sums_Rb));
  const log_R1 = toFloat32(graph, graph.node('Log', [total_R1]));
  graph.node('Squeeze', [graph.node('Add', [max_R1, log_R1]), graph.ints(1)], { as: 'log_sum_exp' });
}

/** Inverse CDF in ascending order of ids: the first id whose running mass exceeds `uniform` times the total; first its block, then its place in it. */
function addDraw(graph: GraphBuilder, { shifted_RW }: Shifted, { temperature_R, uniform_R }: TeacherHeadInputs): void {
  const temperature_R1 = graph.node('Unsqueeze', [temperature_R, graph.ints(1)], { as: 'temperature_R1' });
  const uniform_R1 = toFloat64(graph, graph.node('Unsqueeze', [uniform_R, graph.ints(1)]));
  const { each_RbB, sums_Rb } = addMasses(graph, graph.node('Div', [shifted_RW, temperature_R1]), 'tempered');
  const running_Rb = addRunningSum(graph, sums_Rb);
  const block = addFirstAbove(graph, running_Rb, uniform_R1);
  const each_RB = graph.node('GatherND', [each_RbB, block.index_R1], { attributes: { batch_dims: { int: 1 } }, as: 'drawn_block_RB' });
  const share_R1 = addShareOfBlock(graph, { running_Rb, sums_Rb, ...block });
  const place = addFirstAbove(graph, addRunningSum(graph, toFloat64(graph, each_RB)), share_R1);
  const ids_R1 = graph.node('Add', [graph.node('Mul', [block.index_R1, graph.int(BLOCK)]), place.index_R1]);
  graph.node('Squeeze', [ids_R1, graph.ints(1)], { as: 'sampled_ids' });
}

interface BlockDraw extends Found {
  readonly running_Rb: Value;
  readonly sums_Rb: Value;
}

/** How far into its block the goal lies, as a share of the block: the block's own sum and the running sum inside it are rounded differently. */
function addShareOfBlock(graph: GraphBuilder, { running_Rb, sums_Rb, index_R1, goal_R1 }: BlockDraw): Value {
  const pick = (values_Rb: Value): Value => graph.node('GatherElements', [values_Rb, index_R1], { attributes: { axis: { int: 1 } } });
  const mass = pick(sums_Rb);
  const before = graph.node('Sub', [pick(running_Rb), mass]);
  return graph.node('Div', [graph.node('Sub', [goal_R1, before]), mass]);
}

interface Found {
  /** int64 [R, 1] */
  readonly index_R1: Value;
  /** float64 [R, 1], the running sum that was looked for. */
  readonly goal_R1: Value;
}

/** The first entry whose running sum exceeds this share of the last; however the goal is rounded, never one past the last that adds to the sum. */
function addFirstAbove(graph: GraphBuilder, running_RM: Value, share_R1: Value): Found {
  const total_R1 = addLast(graph, running_RM);
  const goal_R1 = graph.node('Mul', [share_R1, total_R1]);
  const reached = graph.node('And', [graph.node('LessOrEqual', [running_RM, goal_R1]), graph.node('Less', [running_RM, total_R1])]);
  const counted = graph.node('Cast', [reached], { attributes: { to: { int: ELEMENT_TYPES.int64 } } });
  return { index_R1: graph.node('ReduceSum', [counted, graph.ints(1)]), goal_R1 };
}

function addRunningSum(graph: GraphBuilder, values_RM: Value): Value {
  return graph.node('CumSum', [values_RM, graph.int(1)]);
}

/** The last column, [R, 1]. */
function addLast(graph: GraphBuilder, values_RM: Value): Value {
  return graph.node('Gather', [values_RM, graph.ints(-1)], { attributes: { axis: { int: 1 } } });
}

function toFloat64(graph: GraphBuilder, value: Value): Value {
  return graph.node('Cast', [value], { attributes: { to: { int: ELEMENT_TYPES.float64 } } });
}

function toFloat32(graph: GraphBuilder, value: Value): Value {
  return graph.node('Cast', [value], { attributes: { to: { int: ELEMENT_TYPES.float32 } } });
}

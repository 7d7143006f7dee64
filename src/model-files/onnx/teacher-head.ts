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

/**
 * Inverse CDF in ascending order of ids: the first id whose running mass exceeds `uniform` times the total; first the block, then the id in it.
 */
function addDraw(graph: GraphBuilder, { shifted_RW }: Shifted, { temperature_R, uniform_R }: TeacherHeadInputs): void {
  const temperature_R1 = graph.node('Unsqueeze', [temperature_R, graph.ints(1)], { as: 'temperature_R1' });
  const { each_RbB, sums_Rb } = addMasses(graph, graph.node('Div', [shifted_RW, temperature_R1]), 'tempered');
  const running_Rb = addRunningSum(graph, sums_Rb);
  const uniform_R1 = toFloat64(graph, graph.node('Unsqueeze', [uniform_R, graph.ints(1)]));
  const block_R1 = addFirstAbove(graph, running_Rb, graph.node('Mul', [uniform_R1, addLast(graph, running_Rb)], { as: 'goal_R1' }));
  const rest_R1 = addRest(graph, { running_Rb, sums_Rb, block_R1 });
  const each_RB = graph.node('GatherND', [each_RbB, block_R1], { attributes: { batch_dims: { int: 1 } }, as: 'drawn_block_RB' });
  const running_RB = addRunningSum(graph, toFloat64(graph, each_RB));
  const inside_R1 = addFirstAbove(graph, running_RB, graph.node('Mul', [rest_R1, addLast(graph, running_RB)]));
  const ids_R1 = graph.node('Add', [graph.node('Mul', [block_R1, graph.int(BLOCK)]), inside_R1]);
  graph.node('Squeeze', [ids_R1, graph.ints(1)], { as: 'sampled_ids' });
}

/** How far into its block the goal lies, as a share of the block's mass: the block's own sum and its running sum are rounded differently. */
function addRest(graph: GraphBuilder, draw: { readonly running_Rb: Value; readonly sums_Rb: Value; readonly block_R1: Value }): Value {
  const pick = (values_Rb: Value): Value => graph.node('GatherElements', [values_Rb, draw.block_R1], { attributes: { axis: { int: 1 } } });
  const mass = pick(draw.sums_Rb);
  const before = graph.node('Sub', [pick(draw.running_Rb), mass]);
  return graph.node('Div', [graph.node('Sub', ['goal_R1', before]), mass]);
}

/** How many running sums are at most the goal, int64 [R, 1]; never past the last entry that adds mass, however the goal was rounded. */
function addFirstAbove(graph: GraphBuilder, running_RM: Value, goal_R1: Value): Value {
  const reached = graph.node('LessOrEqual', [running_RM, goal_R1]);
  const more = graph.node('Less', [running_RM, addLast(graph, running_RM)]);
  const counted = graph.node('Cast', [graph.node('And', [reached, more])], { attributes: { to: { int: ELEMENT_TYPES.int64 } } });
  return graph.node('ReduceSum', [counted, graph.ints(1)]);
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

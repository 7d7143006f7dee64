import type { Tensor } from '../../../kernels/binding/kernels.js';
import type { ScoreSequence, TargetBlock } from '../../tokens/target.js';
import type { ScoreRequest, SequenceWork } from '../engine.js';
import { Operations } from './operations.js';
import { hiddenStates } from './packed-pass.js';
import { groupByTokens, packIds, type PackedIds } from './packing.js';
import { reserve, type EngineCore } from './plan.js';
import type { PassCore } from './rehearsal.js';
import { withoutPause } from './turns.js';

/** Most tokens scored in one pass; a longer sequence stands alone. */
const SCORE_TOKENS = 2048;

interface Indexed extends ScoreSequence {
  readonly index: number;
}

interface Asked {
  readonly rows_R: Int32Array;
  readonly k: number;
  readonly breathe: () => Promise<void>;
}

/** What the head says of R rows: its top k, best first, the label's log-prob, and the mass outside both. */
interface HeadScores {
  readonly k: number;
  readonly labels_R: Int32Array;
  readonly topIds_RK: Int32Array;
  readonly topLogProbs_RK: Float32Array;
  readonly labelLogProbs_R: Float32Array;
  readonly tail_R: Float32Array;
}

/** Scores sequences in request order, packed. `breathe` is awaited between layers and may throw to stop. @throws BatchTooLarge before its pass. */
export async function* scoreAll(core: EngineCore, request: ScoreRequest, breathe: () => Promise<void>): AsyncGenerator<TargetBlock> {
  const sequences = request.sequences.map((sequence, index) => ({ ...sequence, index }));
  for (const group of groupByTokens(sequences, ({ ids_T }) => ids_T.length, SCORE_TOKENS)) {
    yield* await scoreGroup(core, group, { k: request.k, breathe });
  }
}

/** The first pass of a request, in the arena as it is. */
export async function passFirstGroup(core: PassCore, { sequences, k }: ScoreRequest): Promise<void> {
  const [group] = groupByTokens(sequences, ({ ids_T }) => ids_T.length, SCORE_TOKENS);
  const packed = packIds(group.map(({ ids_T }) => ids_T));
  await scoreRows(core, packed, { rows_R: askedRows(group, packed), k, breathe: withoutPause });
}

async function scoreGroup(core: EngineCore, group: readonly Indexed[], { k, breathe }: { k: number; breathe: () => Promise<void> }): Promise<TargetBlock[]> {
  const packed = packIds(group.map(({ ids_T }) => ids_T));
  const rows_R = askedRows(group, packed);
  const work: SequenceWork = { kind: 'score', sequences: group.length, tokens: packed.tokens_N.length, rows: rows_R.length, k };
  const scores = rows_R.length === 0 ? noScores(k) : await scored(core, packed, { rows_R, k, breathe, work });
  let row = 0;
  return group.map((sequence) => {
    const begin = row;
    row += sequence.ids_T.length - sequence.from;
    return block(sequence.index, scores, { begin, end: row });
  });
}

function askedRows(group: readonly ScoreSequence[], { cuSeqlens_S1 }: PackedIds): Int32Array {
  return Int32Array.from(group.flatMap(({ ids_T, from }, s) => Array.from({ length: ids_T.length - from }, (_, r) => cuSeqlens_S1[s] + from - 1 + r)));
}

async function scored(core: EngineCore, packed: PackedIds, { work, ...asked }: Asked & { work: SequenceWork }): Promise<HeadScores> {
  await reserve(core, { what: `scoring ${work.tokens} tokens`, work, pass: (rehearsed) => scoreRows(rehearsed, packed, { ...asked, breathe: withoutPause }) });
  return scoreRows(core, packed, asked);
}

async function scoreRows(core: PassCore, packed: PackedIds, asked: Asked): Promise<HeadScores> {
  const { kernels, arena } = core;
  const { rows_R, k, breathe } = asked;
  const ops = new Operations(kernels, arena);
  const hidden_RD = await hiddenStates(ops, core, { ...packed, rows_R, breathe });
  const labels_R = rows_R.map((row) => packed.tokens_N[row + 1]);
  return headScores(core, hidden_RD.value, { labels_R, labels: ops.input(labels_R), k });
}

function headScores(core: PassCore, hidden_RD: Tensor, { labels_R, labels, k }: { labels_R: Int32Array; labels: Tensor; k: number }): HeadScores {
  const { kernels, arena, parameters } = core;
  const rows = labels_R.length;
  const topIds = arena.take('i32', [rows, k]);
  const topLogProbs = arena.take('f32', [rows, k]);
  const labelLogProbs = arena.take('f32', [rows]);
  const tail = arena.take('f32', [rows]);
  kernels.scoreHead(hidden_RD, parameters.head.weight, labels, topIds, topLogProbs, labelLogProbs, tail);
  const read = <T extends Float32Array | Int32Array>(tensor: Tensor, values: T): T => {
    kernels.read(tensor, values);
    return values;
  };
  return {
    k,
    labels_R,
    topIds_RK: read(topIds, new Int32Array(rows * k)),
    topLogProbs_RK: read(topLogProbs, new Float32Array(rows * k)),
    labelLogProbs_R: read(labelLogProbs, new Float32Array(rows)),
    tail_R: read(tail, new Float32Array(rows)),
  };
}

function noScores(k: number): HeadScores {
  const none = new Float32Array(0);
  return { k, labels_R: new Int32Array(0), topIds_RK: new Int32Array(0), topLogProbs_RK: none, labelLogProbs_R: none, tail_R: none };
}

// A row's support is its top k, and the label behind them when it is not among them.
function block(index: number, scores: HeadScores, { begin, end }: { begin: number; end: number }): TargetBlock {
  const { k, labels_R, topIds_RK, topLogProbs_RK, labelLogProbs_R, tail_R } = scores;
  const rows = end - begin;
  const offsets_R1 = new Int32Array(rows + 1);
  const ids_S = new Int32Array(rows * (k + 1));
  const logProbs_S = new Float32Array(rows * (k + 1));
  let at = 0;
  for (let row = begin; row < end; row++) {
    const ids = topIds_RK.subarray(row * k, (row + 1) * k);
    ids_S.set(ids, at);
    logProbs_S.set(topLogProbs_RK.subarray(row * k, (row + 1) * k), at);
    at += k;
    if (!ids.includes(labels_R[row])) {
      ids_S[at] = labels_R[row];
      logProbs_S[at++] = labelLogProbs_R[row];
    }
    offsets_R1[row - begin + 1] = at;
  }
  return {
    index,
    offsets_R1,
    ids_S: ids_S.slice(0, at),
    logProbs_S: logProbs_S.slice(0, at),
    tail_R: tail_R.slice(begin, end),
    actualLogProbs_R: labelLogProbs_R.slice(begin, end),
  };
}

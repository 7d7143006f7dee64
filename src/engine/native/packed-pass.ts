import type { Tensor } from '../../../kernels/binding/kernels.js';
import { decode, type Pass } from './decoder.js';
import type { Activation, Operations } from './operations.js';
import type { PackedIds } from './packing.js';
import type { PassCore } from './rehearsal.js';
import { shareBeginnings, type RowPlan } from './shared-beginnings.js';

/** Packed sequences, and the rows of them whose hidden states are wanted. */
export interface PackedPass extends PackedIds {
  /** int32 [R], indices into N. */
  readonly rows_R: Int32Array;
  /** Awaited between layers; may throw to stop. */
  readonly breathe: () => Promise<void>;
}

/** Runs packed sequences through the decoder, each attending within itself. @returns the hidden states of `rows_R`, bf16 [R, D]. */
export async function hiddenStates(ops: Operations, core: PassCore, { rows_R, breathe, tokens_N, cuSeqlens_S1 }: PackedPass): Promise<Activation> {
  const { config } = core;
  const plan = shareBeginnings({ tokens_N, cuSeqlens_S1 }, config);
  const rows = plan.tokens_U.length;
  const hidden_UD = await decode(ops, core, {
    rows,
    tokens_N: ops.input(plan.tokens_U),
    positions_N: ops.input(plan.positions_U),
    mix: mixing(ops, core, { plan, cuSeqlens_S1: ops.input(cuSeqlens_S1) }),
    breathe,
  });
  const { shared } = plan;
  const picked_R = shared ? rows_R.map((row) => shared.rowOf_N[row]) : rows_R;
  return ops.gather(hidden_UD, ops.input(picked_R), { rows, picked: picked_R.length, width: config.hiddenSize });
}

function mixing(inputs: Operations, { config }: PassCore, { plan: { tokens_U, shared }, cuSeqlens_S1 }: { plan: RowPlan; cuSeqlens_S1: Tensor }): Pass['mix'] {
  const rows = tokens_U.length;
  if (!shared) return (ops, _layer, qkv) => ops.attention(qkv, { cuSeqlens_S1, geometry: config, rows });
  const tokens = shared.rowOf_N.length;
  const [rowOf_N, tokenOf_U] = [inputs.input(shared.rowOf_N), inputs.input(shared.tokenOf_U)];
  return (ops, _layer, qkv) => {
    const whole = ops.attention(ops.spread(qkv, rowOf_N, { rows, picked: tokens, geometry: config }), { cuSeqlens_S1, geometry: config, rows: tokens });
    return ops.gather(whole, tokenOf_U, { rows: tokens, picked: rows, width: config.heads * config.headDim });
  };
}

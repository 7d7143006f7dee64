import type { Tensor } from '../../../kernels/binding/kernels.js';
import type { SampleRequest } from '../engine.js';
import { decode } from './decoder.js';
import { Operations, type CachePlace, type LayerCache } from './operations.js';
import type { PackedWeights } from './packed-weights.js';
import { Recording } from './recording.js';
import type { PassCore } from './rehearsal.js';

/** Tokens to run, laid end to end, the last of each sequence's, and the random words that its next id is drawn with. */
export interface Rows {
  readonly tokens_N: Int32Array;
  readonly slots_N: Int32Array;
  readonly positions_N: Int32Array;
  /** [B, M]: `PageTable.pages_BM`. */
  readonly pages_BM: Int32Array;
  readonly last_B: Int32Array;
  /** [B, 2] and [B, 4]. */
  readonly keys_B: Int32Array;
  readonly counters_B: Int32Array;
}

/** The next id of each sequence. */
export interface Drawn {
  readonly ids_B: Int32Array;
  readonly logProbs_B: Float32Array;
}

/** What the passes of a request have in common. */
export interface SamplingSetting {
  readonly sampling: SampleRequest['sampling'];
  /** B. */
  readonly slots: number;
  readonly caches: readonly LayerCache[];
  readonly packed?: PackedWeights;
}

interface Pass {
  readonly rows: Rows;
  readonly inputs: Readonly<Record<keyof Rows, Tensor>>;
  readonly ids_B: Tensor;
  readonly logProbs_B: Tensor;
  readonly recording: Recording;
}

/** Runs rows over caches and draws the next id of each sequence. A step, one row a sequence, that is as large as the one before makes the same calls with other inputs. */
export class SamplingPasses {
  private last?: Pass;

  constructor(
    private readonly core: PassCore,
    private readonly setting: SamplingSetting,
  ) {}

  /** @param breathe awaited between layers of all that is more than a step; may throw to stop. */
  async run(rows: Rows, breathe: () => Promise<void>): Promise<Drawn> {
    const { last } = this;
    if (last && isStep(rows) && isStep(last.rows) && rows.last_B.length === last.rows.last_B.length) {
      for (const name of INPUTS) this.core.kernels.write(last.inputs[name], rows[name]);
      last.recording.again();
      return this.read(last);
    }
    this.last = undefined; // what it holds ends with the arena's content
    this.core.arena.reset();
    this.last = await this.first(rows, breathe);
    return this.read(this.last);
  }

  private async first(rows: Rows, breathe: () => Promise<void>): Promise<Pass> {
    const { core, setting } = this;
    const { config, arena, parameters } = core;
    const recording = new Recording(core.kernels);
    const ops = new Operations(recording.kernels, arena, { packed: setting.packed });
    const [N, B] = [rows.tokens_N.length, rows.last_B.length];
    const inputs = {
      tokens_N: this.written(rows.tokens_N, [N]), slots_N: this.written(rows.slots_N, [N]), positions_N: this.written(rows.positions_N, [N]), pages_BM: this.written(rows.pages_BM, [setting.slots, rows.pages_BM.length / setting.slots]), last_B: this.written(rows.last_B, [B]),
      keys_B: this.written(rows.keys_B, [B, 2]), counters_B: this.written(rows.counters_B, [B, 4]),
    };
    const place: CachePlace = inputs;
    const hidden_ND = await decode(ops, core, {
      rows: N,
      tokens_N: inputs.tokens_N,
      positions_N: inputs.positions_N,
      mix: (within, layer, qkv) => {
        within.cache(qkv, setting.caches[layer], { place, kvHeads: config.kvHeads });
        return within.attentionDecode(qkv, setting.caches[layer], { place, geometry: config, rows: N });
      },
      breathe: isStep(rows) ? undefined : breathe,
    });
    const hidden_BD = isStep(rows) ? hidden_ND : ops.gather(hidden_ND, inputs.last_B, { rows: N, picked: B, width: config.hiddenSize });
    const { value: logits_BV } = ops.linear(hidden_BD, parameters.head, { rows: B, dtype: 'f32' });
    const { temperature, topK, topP } = setting.sampling;
    const [ids_B, logProbs_B] = [arena.take('i32', [B]), arena.take('f32', [B])];
    recording.kernels.sampleToken(
      logits_BV, this.written(new Float32Array(B).fill(temperature), [B]), this.written(new Int32Array(B).fill(topK), [B]), this.written(new Float32Array(B).fill(topP), [B]),
      inputs.keys_B, inputs.counters_B, ids_B, logProbs_B,
    );
    return { rows, inputs, ids_B, logProbs_B, recording };
  }

  private read({ rows, ...pass }: Pass): Drawn {
    const ids_B = new Int32Array(rows.last_B.length);
    const logProbs_B = new Float32Array(rows.last_B.length);
    this.core.kernels.read(pass.ids_B, ids_B);
    this.core.kernels.read(pass.logProbs_B, logProbs_B);
    return { ids_B, logProbs_B };
  }

  private written(values: Int32Array | Float32Array, shape: readonly number[]): Tensor {
    const tensor = this.core.arena.take(values instanceof Float32Array ? 'f32' : 'i32', shape);
    this.core.kernels.write(tensor, values);
    return tensor;
  }
}

const INPUTS = ['tokens_N', 'slots_N', 'positions_N', 'pages_BM', 'last_B', 'keys_B', 'counters_B'] as const satisfies readonly (keyof Rows)[];

function isStep({ tokens_N, last_B }: Rows): boolean {
  return tokens_N.length === last_B.length;
}

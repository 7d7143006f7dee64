import { drawWords } from '../../common/philox.js';
import { cacheLength, type Tensor } from '../../../kernels/binding/kernels.js';
import type { Completion, SampleRequest, SampleWork } from '../engine.js';
import { decode } from './decoder.js';
import { Operations, type Activation, type CachePlace, type LayerCache } from './operations.js';
import { groupByTokens, largestRuns, packedPositions, packIds } from './packing.js';
import { PackedWeights } from './packed-weights.js';
import { reserve, type EngineCore } from './plan.js';
import type { PassCore } from './rehearsal.js';
import { Slots, type Running } from './slots.js';
import { withoutPause } from './turns.js';

/** Most prompt tokens that enter the caches in one pass. */
const PREFILL_TOKENS = 2048;

/** Steps from which packing the weights for them pays: it takes as long as about two steps, and a step without it a third longer. */
const PACKING_STEPS = 8;

type Breathe = () => Promise<void>;

/**
 * Writes every completion of a request: prompts enter their slots' caches packed, then each step draws one id for every running sequence.
 * `breathe` is awaited between steps and may throw to stop. @throws BatchTooLarge before any work.
 */
export async function* sampleAll(core: EngineCore, request: SampleRequest, breathe: Breathe): AsyncGenerator<Completion> {
  if (request.prompts.length === 0) return;
  const work = workOf(request);
  const what = `sampling ${work.prompts} prompts of up to ${work.promptTokens} tokens with ${work.maxTokens} more`;
  await reserve(core, { what, work, pass: (rehearsed) => passLargest(rehearsed, request) });
  yield* new SampleRun(core, request, breathe).completions();
}

/** Every pass that a request can lead to at its largest, and its caches. */
export async function passLargest(core: PassCore, request: SampleRequest): Promise<void> {
  await new SampleRun(core, request, withoutPause).passLargest();
}

function workOf({ prompts, sampling }: SampleRequest): SampleWork {
  return { kind: 'sample', prompts: prompts.length, promptTokens: Math.max(...prompts.map(({ ids_T }) => ids_T.length)), maxTokens: sampling.maxTokens };
}

class SampleRun {
  private readonly slots: Slots;
  private readonly caches: readonly LayerCache[];
  private readonly packed?: PackedWeights;

  constructor(
    private readonly core: PassCore,
    private readonly request: SampleRequest,
    private readonly breathe: Breathe,
  ) {
    this.slots = new Slots(request);
    this.caches = this.allocateCaches();
    if (request.sampling.maxTokens > PACKING_STEPS) this.packed = new PackedWeights(core, { withHead: true });
  }

  async *completions(): AsyncGenerator<Completion> {
    for (let begun = this.slots.admit(); begun.length + this.slots.active().length > 0; begun = this.slots.admit()) {
      for (const group of groupByTokens(begun, ({ index }) => this.prompt(index).length, PREFILL_TOKENS)) {
        yield* this.draw(group, await this.prefill(group));
      }
      const active = this.slots.active();
      await this.breathe();
      if (active.length > 0) yield* this.draw(active, await this.step(active));
    }
  }

  async passLargest(): Promise<void> {
    const { prompts, sampling } = this.request;
    const lengths = prompts.map(({ ids_T }) => ids_T.length);
    for (const [begin, end] of largestRuns(lengths, { items: this.slotCount, tokens: PREFILL_TOKENS })) {
      const group = Array.from({ length: end - begin }, (_, slot) => ({ slot, index: begin + slot, ids: [], logProbs: [] }));
      this.draw(group, await this.prefill(group));
    }
    if (sampling.maxTokens === 1) return;
    const longest = lengths.indexOf(Math.max(...lengths));
    const ids = new Array<number>(sampling.maxTokens - 1).fill(0);
    const all = Array.from({ length: this.slotCount }, (_, slot) => ({ slot, index: longest, ids: [...ids], logProbs: [] }));
    this.draw(all, await this.step(all));
  }

  /** Runs whole prompts. @returns the hidden state of each one's last token: bf16 [B, D]. */
  private async prefill(group: readonly Running[]): Promise<Activation> {
    const { config, arena } = this.core;
    const { tokens_N, cuSeqlens_S1 } = packIds(group.map(({ index }) => this.prompt(index)));
    const rows = tokens_N.length;
    arena.reset();
    const ops = this.operations();
    const positions = packedPositions(cuSeqlens_S1);
    const place: CachePlace = { slots_N: ops.input(slotOfToken(group, cuSeqlens_S1)), positions_N: ops.input(positions) };
    const packed = { cuSeqlens_S1: ops.input(cuSeqlens_S1), geometry: config, rows };
    const hidden_ND = await decode(ops, this.core, {
      rows,
      tokens_N: ops.input(tokens_N),
      positions_N: place.positions_N,
      mix: (layer, qkv) => {
        ops.cache(qkv, this.caches[layer], { place, kvHeads: config.kvHeads });
        return ops.attention(qkv, packed);
      },
      breathe: this.breathe,
    });
    const last_B = ops.input(cuSeqlens_S1.subarray(1).map((end) => end - 1));
    return ops.gather(hidden_ND, last_B, { rows, picked: group.length, width: config.hiddenSize });
  }

  /** Runs the newest id of each sequence. @returns the hidden states, bf16 [B, D]. */
  private step(active: readonly Running[]): Promise<Activation> {
    const { config, arena } = this.core;
    const rows = active.length;
    arena.reset();
    const ops = this.operations();
    const place: CachePlace = {
      slots_N: ops.input(Int32Array.from(active, ({ slot }) => slot)),
      positions_N: ops.input(Int32Array.from(active, ({ index, ids }) => this.prompt(index).length + ids.length - 1)),
    };
    return decode(ops, this.core, {
      rows,
      tokens_N: ops.input(Int32Array.from(active, ({ ids }) => ids[ids.length - 1])),
      positions_N: place.positions_N,
      mix: (layer, qkv) => {
        ops.cache(qkv, this.caches[layer], { place, kvHeads: config.kvHeads });
        return ops.attentionDecode(qkv, this.caches[layer], { place, geometry: config, rows });
      },
    });
  }

  /** Draws the next id of each sequence from its hidden state. @returns the completions that ended. */
  private draw(running: readonly Running[], hidden_BD: Activation): Completion[] {
    const { kernels, arena, parameters } = this.core;
    const { temperature, topK, topP } = this.request.sampling;
    const rows = running.length;
    const { value: logits_BV } = this.operations().linear(hidden_BD, parameters.head, { rows, dtype: 'f32' });
    const { keys, counters } = this.randomWords(running);
    const ids_B = arena.take('i32', [rows]);
    const logProbs_B = arena.take('f32', [rows]);
    kernels.sampleToken(
      logits_BV, this.written(new Float32Array(rows).fill(temperature), [rows]), this.written(new Int32Array(rows).fill(topK), [rows]),
      this.written(new Float32Array(rows).fill(topP), [rows]), this.written(keys, [rows, 2]), this.written(counters, [rows, 4]), ids_B, logProbs_B,
    );
    const ids = new Int32Array(rows);
    const logProbs = new Float32Array(rows);
    kernels.read(ids_B, ids);
    kernels.read(logProbs_B, logProbs);
    return running.map((entry, row) => this.slots.append(entry, ids[row], logProbs[row])).filter((ended) => ended !== undefined);
  }

  private operations(): Operations {
    return new Operations(this.core.kernels, this.core.arena, undefined, this.packed);
  }

  private randomWords(running: readonly Running[]): { keys: Int32Array; counters: Int32Array } {
    const keys = new Int32Array(2 * running.length);
    const counters = new Int32Array(4 * running.length);
    for (const [row, { index, ids }] of running.entries()) {
      const words = drawWords({ ...this.request.key, sample: this.request.prompts[index].sample, position: ids.length });
      keys.set(words.key, 2 * row);
      counters.set(words.counter, 4 * row);
    }
    return { keys, counters };
  }

  private written(values: Int32Array | Float32Array, shape: readonly number[]): Tensor {
    const tensor = this.core.arena.take(values instanceof Float32Array ? 'f32' : 'i32', shape);
    this.core.kernels.write(tensor, values);
    return tensor;
  }

  private prompt(index: number): Int32Array {
    return this.request.prompts[index].ids_T;
  }

  private get slotCount(): number {
    return Slots.count(this.request);
  }

  private allocateCaches(): LayerCache[] {
    const { lasting, config } = this.core;
    const { prompts, sampling } = this.request;
    // The last id of a completion is drawn but never read back, so it needs no place.
    const length = cacheLength(Math.max(...prompts.map(({ ids_T }) => ids_T.length)) + sampling.maxTokens - 1);
    const shape = [this.slotCount, length, config.kvHeads * config.headDim];
    return Array.from({ length: config.layers }, () => ({ k: lasting.take('bf16', shape), v: lasting.take('bf16', shape) }));
  }
}

function slotOfToken(group: readonly Running[], cuSeqlens_S1: Int32Array): Int32Array {
  const slots_N = new Int32Array(cuSeqlens_S1[group.length]);
  for (const [s, { slot }] of group.entries()) slots_N.fill(slot, cuSeqlens_S1[s], cuSeqlens_S1[s + 1]);
  return slots_N;
}

import { drawWords } from '../../common/philox.js';
import { cacheLength, type Tensor } from '../../../kernels/binding/kernels.js';
import type { Completion, SampleRequest, SampleWork } from '../engine.js';
import { decode } from './decoder.js';
import { Operations, type Activation, type CachePlace, type LayerCache } from './operations.js';
import { packedPositions, packIds } from './packing.js';
import { PackedWeights } from './packed-weights.js';
import { reserve, type EngineCore } from './plan.js';
import type { PassCore } from './rehearsal.js';
import { Slots, type Begun, type Running } from './slots.js';
import { withoutPause } from './turns.js';

/** Most prompt tokens that are run in one step; a longer prompt begins alone. */
const PREFILL_TOKENS = 2048;

/** Steps from which packing the weights for them pays: it takes as long as about two steps, and a step without it a third longer. */
const PACKING_STEPS = 8;

type Breathe = () => Promise<void>;

/** Tokens to run, laid end to end, and the last of each sequence's. */
interface Rows {
  readonly tokens_N: Int32Array;
  readonly slots_N: Int32Array;
  readonly positions_N: Int32Array;
  readonly last_B: Int32Array;
}

/**
 * Writes every completion of a request: each step runs the prompts that begin and the newest id of every other sequence, all over the same caches, and draws one id
 * for each. What a prompt has in common with another one in the caches is copied there and not run.
 * `breathe` is awaited between steps and may throw to stop. @throws BatchTooLarge before any work.
 */
export async function* sampleAll(core: EngineCore, request: SampleRequest, breathe: Breathe): AsyncGenerator<Completion> {
  if (request.prompts.length === 0) return;
  const work = workOf(request);
  const what = `sampling ${work.prompts} prompts of up to ${work.promptTokens} tokens with ${work.maxTokens} more`;
  await reserve(core, { what, work, pass: (rehearsed) => passLargest(rehearsed, request) });
  yield* new SampleRun(core, request, breathe).completions();
}

/** The largest pass that a request can lead to, a step, and its caches. */
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
    for (let begun = this.slots.admit(PREFILL_TOKENS); this.slots.active().length > 0; begun = this.slots.admit(PREFILL_TOKENS)) {
      await this.breathe();
      for (const one of begun) this.copyBeginning(one);
      const active = this.slots.active();
      yield* this.draw(active, await this.run(this.layOut(active, begun)));
    }
  }

  async passLargest(): Promise<void> {
    const lengths = this.request.prompts.map(({ ids_T }) => ids_T.length).sort((a, b) => b - a);
    const drawn = Array.from({ length: this.slotCount }, (_, slot): Running => ({ slot, index: 0, ids: [], logProbs: [] }));
    const all = lengths.slice(0, this.slotCount).reduce((sum, length) => sum + length, 0);
    // What does not enter at once enters while others are written.
    const most = Math.max(PREFILL_TOKENS, lengths[0]);
    for (const rows of new Set([all <= most ? all : most + this.slotCount - 1, this.slotCount])) {
      const zeros = new Int32Array(rows);
      this.draw(drawn, await this.run({ tokens_N: zeros, slots_N: zeros, positions_N: zeros, last_B: new Int32Array(this.slotCount) }));
    }
  }

  private copyBeginning({ running, from, positions }: Begun): void {
    if (positions === 0 || from === running.slot) return;
    const { kernels } = this.core;
    const [length, columns] = this.cacheShape.slice(1);
    const elements = cacheLength(positions) * columns;
    for (const cache of this.caches.flatMap(({ k, v }) => [k, v])) {
      const [source, target] = [from, running.slot].map((slot) => kernels.view(cache, slot * length * columns, [elements]));
      kernels.convert(source, target);
      for (const view of [source, target]) kernels.free(view);
    }
  }

  /** A sequence that begins runs what its prompt has beyond its copied beginning, the others their newest id. */
  private layOut(active: readonly Running[], begun: readonly Begun[]): Rows {
    const beginning = new Map(begun.map(({ running, positions }) => [running, positions]));
    const parts = active.map((running) => {
      const prompt_T = this.prompt(running.index);
      const position = beginning.get(running);
      if (position !== undefined) return { slot: running.slot, position, ids: prompt_T.subarray(position) };
      return { slot: running.slot, position: prompt_T.length + running.ids.length - 1, ids: Int32Array.of(running.ids[running.ids.length - 1]) };
    });
    const { tokens_N, cuSeqlens_S1 } = packIds(parts.map(({ ids }) => ids));
    const positions_N = packedPositions(cuSeqlens_S1);
    const slots_N = new Int32Array(tokens_N.length);
    for (const [b, { slot, position }] of parts.entries()) {
      const [begin, end] = [cuSeqlens_S1[b], cuSeqlens_S1[b + 1]];
      slots_N.fill(slot, begin, end);
      for (let n = begin; n < end; n++) positions_N[n] += position;
    }
    return { tokens_N, slots_N, positions_N, last_B: cuSeqlens_S1.subarray(1).map((end) => end - 1) };
  }

  /** Runs rows over their slots. @returns the hidden states of `last_B`, bf16 [B, D]. */
  private async run({ tokens_N, slots_N, positions_N, last_B }: Rows): Promise<Activation> {
    const { config, arena } = this.core;
    const rows = tokens_N.length;
    const isStep = rows === last_B.length;
    arena.reset();
    const ops = this.operations();
    const place: CachePlace = { slots_N: ops.input(slots_N), positions_N: ops.input(positions_N) };
    const hidden_ND = await decode(ops, this.core, {
      rows,
      tokens_N: ops.input(tokens_N),
      positions_N: place.positions_N,
      mix: (layer, qkv) => {
        ops.cache(qkv, this.caches[layer], { place, kvHeads: config.kvHeads });
        return ops.attentionDecode(qkv, this.caches[layer], { place, geometry: config, rows });
      },
      breathe: isStep ? undefined : this.breathe,
    });
    return isStep ? hidden_ND : ops.gather(hidden_ND, ops.input(last_B), { rows, picked: last_B.length, width: config.hiddenSize });
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

  /** [B, L, Hkv K] */
  private get cacheShape(): number[] {
    const { prompts, sampling } = this.request;
    const { config } = this.core;
    // The last id of a completion is drawn but never read back, so it needs no place.
    const length = cacheLength(Math.max(...prompts.map(({ ids_T }) => ids_T.length)) + sampling.maxTokens - 1);
    return [this.slotCount, length, config.kvHeads * config.headDim];
  }

  private allocateCaches(): LayerCache[] {
    const { lasting, config } = this.core;
    const shape = this.cacheShape;
    return Array.from({ length: config.layers }, () => ({ k: lasting.take('bf16', shape), v: lasting.take('bf16', shape) }));
  }
}

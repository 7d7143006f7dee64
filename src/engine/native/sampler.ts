import { drawWords } from '../../common/philox.js';
import { PAGE_POSITIONS } from '../../../kernels/binding/kernels.js';
import type { Completion, SampleRequest, SampleWork } from '../engine.js';
import type { LayerCache } from './operations.js';
import { packedPositions, packIds } from './packing.js';
import { differentPrompts, PageTable, pageTableShape, positionsOf, type PageCopy, type PageTableShape } from './page-table.js';
import { PackedWeights } from './packed-weights.js';
import { reserve, type EngineCore } from './plan.js';
import type { PassCore } from './rehearsal.js';
import { SamplingPasses, type Rows } from './sampling-passes.js';
import { Slots, type Begun, type Running } from './slots.js';
import { withoutPause } from './turns.js';

/** Most prompt tokens that are run in one step; a longer prompt begins alone. */
const PREFILL_TOKENS = 2048;

/** Steps from which packing the weights for them pays: it takes as long as about two steps, and a step without it a third longer. */
const PACKING_STEPS = 8;

type Breathe = () => Promise<void>;

/**
 * Writes every completion of a request: each step runs the prompts that begin and the newest id of every other sequence, all over the same caches, and draws one id
 * for each. What a prompt has in common with another one in the caches is not run: full pages of it are the same ones, the rest of a page is copied.
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
  return { kind: 'sample', prompts: prompts.length, distinct: differentPrompts({ prompts }).length, promptTokens: Math.max(...prompts.map(({ ids_T }) => ids_T.length)), maxTokens: sampling.maxTokens };
}

class SampleRun {
  private readonly slots: Slots;
  private readonly shape: PageTableShape;
  private readonly table: PageTable;
  private readonly caches: readonly LayerCache[];
  private readonly passes: SamplingPasses;

  constructor(
    private readonly core: PassCore,
    private readonly request: SampleRequest,
    private readonly breathe: Breathe,
  ) {
    this.slots = new Slots(request);
    this.shape = pageTableShape(request);
    this.table = new PageTable(this.shape);
    this.caches = this.allocateCaches();
    const { sampling } = request;
    const packed = sampling.maxTokens > PACKING_STEPS ? new PackedWeights(core, { withHead: true }) : undefined;
    this.passes = new SamplingPasses(core, { sampling, slots: this.shape.slots, caches: this.caches, packed });
  }

  async *completions(): AsyncGenerator<Completion> {
    for (let begun = this.slots.admit(PREFILL_TOKENS); this.slots.active().length > 0; begun = this.slots.admit(PREFILL_TOKENS)) {
      await this.breathe();
      for (const one of begun) this.place(one);
      const active = this.slots.active();
      const { ids_B, logProbs_B } = await this.passes.run(this.layOut(active, begun), this.breathe);
      yield* active.map((running, b) => this.slots.append(running, ids_B[b], logProbs_B[b])).filter((ended) => ended !== undefined);
    }
  }

  async passLargest(): Promise<void> {
    const { slots } = this.shape;
    const lengths = differentPrompts(this.request).map(({ length }) => length).sort((a, b) => b - a).slice(0, slots);
    // Of equal prompts, all but one wait, or run no more than a page.
    const all = lengths.reduce((sum, length) => sum + length, 0) + (slots - lengths.length) * PAGE_POSITIONS;
    // What does not enter at once enters while others are written.
    const most = Math.max(PREFILL_TOKENS, lengths[0]);
    for (const rows of new Set([all <= most ? all : most + slots - 1, slots])) {
      const zeros = new Int32Array(rows);
      const [last_B, keys_B, counters_B] = [1, 2, 4].map((words) => new Int32Array(words * slots));
      await this.passes.run({ tokens_N: zeros, slots_N: zeros, positions_N: zeros, pages_BM: this.table.pages_BM, last_B, keys_B, counters_B }, withoutPause);
    }
  }

  private place({ running, from, positions }: Begun): void {
    const copy = this.table.begin(running.slot, { from, positions, length: positionsOf(this.request, this.prompt(running.index)) });
    if (copy) this.copyPage(copy);
  }

  private copyPage({ from, to }: PageCopy): void {
    const { kernels } = this.core;
    for (const cache of this.caches.flatMap(({ k, v }) => [k, v])) {
      const [source, target] = [from, to].map((page) => kernels.view(cache, page * this.pageElements, [this.pageElements]));
      kernels.convert(source, target);
      for (const view of [source, target]) kernels.free(view);
    }
  }

  /** A sequence that begins runs what its prompt has beyond the beginning that it took over, the others their newest id. */
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
    return { tokens_N, slots_N, positions_N, pages_BM: this.table.pages_BM, last_B: cuSeqlens_S1.subarray(1).map((end) => end - 1), ...this.randomWords(active) };
  }

  private randomWords(running: readonly Running[]): Pick<Rows, 'keys_B' | 'counters_B'> {
    const keys_B = new Int32Array(2 * running.length);
    const counters_B = new Int32Array(4 * running.length);
    for (const [row, { index, ids }] of running.entries()) {
      const { key, counter } = drawWords({ ...this.request.key, sample: this.request.prompts[index].sample, position: ids.length });
      for (let word = 0; word < key.length; word++) keys_B[key.length * row + word] = key[word];
      for (let word = 0; word < counter.length; word++) counters_B[counter.length * row + word] = counter[word];
    }
    return { keys_B, counters_B };
  }

  private prompt(index: number): Int32Array {
    return this.request.prompts[index].ids_T;
  }

  /** Of keys, and of values. */
  private get pageElements(): number {
    const { config } = this.core;
    return PAGE_POSITIONS * config.kvHeads * config.headDim;
  }

  private allocateCaches(): LayerCache[] {
    const { lasting, config } = this.core;
    const shape = [this.shape.pages, this.pageElements];
    return Array.from({ length: config.layers }, () => ({ k: lasting.take('bf16', shape), v: lasting.take('bf16', shape) }));
  }
}

import { NO_TENSOR, type Tensor } from '../../../kernels/binding/kernels.js';
import type { Activation, Operations } from '../../engine/native/operations.js';
import type { PassCore } from '../../engine/native/rehearsal.js';
import type { RunLayout, Segment } from './run-layout.js';

interface Placed extends Segment {
  readonly slots: Tensor;
  readonly positions: Tensor;
}

/** How the layers of one run mix their rows along time: parts that begin among themselves, parts that go on over their caches. */
export class RunAttention {
  private readonly cuSeqlens: Tensor;
  private readonly begun: number;
  private readonly kept: readonly Placed[];
  private readonly going: readonly Placed[];

  constructor(
    private readonly core: PassCore,
    ops: Operations,
    private readonly layout: RunLayout,
  ) {
    const placed = (segment: Segment): Placed => ({ ...segment, slots: ops.input(segment.slots_N), positions: ops.input(segment.positions_N) });
    this.cuSeqlens = ops.input(layout.cuSeqlens_S1);
    this.begun = layout.cuSeqlens_S1[layout.cuSeqlens_S1.length - 1];
    this.kept = layout.kept.map(placed);
    this.going = layout.going.map(placed);
  }

  /** Turns a layer's rotated q|k|v rows, bf16 [N, C], which it gives back, into bf16 [N, Hq K]. */
  mix(layer: number, qkv: Activation): Activation {
    const { arena, config } = this.core;
    const { heads, kvHeads, headDim } = config;
    const rows = this.layout.tokens_N.length;
    const input: Rows = { tensor: qkv.value, width: (heads + 2 * kvHeads) * headDim };
    const output: Rows = { tensor: arena.take('bf16', [rows, heads * headDim]), width: heads * headDim };
    this.begin(input, output);
    for (const segment of this.kept) this.remember(layer, segment, input);
    for (const segment of this.going) {
      this.remember(layer, segment, input);
      this.goOn(layer, segment, { input, output });
    }
    arena.give(qkv.value);
    qkv.value = NO_TENSOR;
    return { value: output.tensor, grad: NO_TENSOR };
  }

  private begin(input: Rows, output: Rows): void {
    if (this.begun === 0) return;
    const { kernels, arena, config } = this.core;
    const lse = arena.take('f32', [this.begun, config.heads]);
    const range = { begin: 0, end: this.begun };
    this.within([input, output], range, ([qkv, out]) => kernels.attentionForward(qkv, this.cuSeqlens, config.heads, config.kvHeads, out, lse));
    arena.give(lse);
  }

  private remember(layer: number, segment: Placed, input: Rows): void {
    const { k, v } = segment.cache.layers[layer];
    this.within([input], segment, ([qkv]) => this.core.kernels.kvWrite(qkv, segment.slots, segment.positions, segment.cache.pages, this.core.config.kvHeads, k, v));
  }

  private goOn(layer: number, segment: Placed, { input, output }: { input: Rows; output: Rows }): void {
    const { kernels, config } = this.core;
    const { k, v } = segment.cache.layers[layer];
    this.within([input, output], segment, ([qkv, out]) => kernels.attentionDecode(qkv, segment.slots, segment.positions, segment.cache.pages, config.heads, config.kvHeads, k, v, out));
  }

  /** Hands over views of the same rows of several tensors. */
  private within(all: readonly Rows[], { begin, end }: { begin: number; end: number }, use: (views: readonly Tensor[]) => void): void {
    const { kernels } = this.core;
    const views = all.map(({ tensor, width }) => kernels.view(tensor, begin * width, [end - begin, width]));
    try {
      use(views);
    } finally {
      for (const view of views) kernels.free(view);
    }
  }
}

interface Rows {
  readonly tensor: Tensor;
  readonly width: number;
}

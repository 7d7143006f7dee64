import { paddedTo } from '../layout.js';
import type { CacheShape } from '../runtime-options.js';
import type { After, RunPart } from '../runtime.js';
import { RuntimeFailed } from '../teacher-server.errors.js';
import { LaneBatch, type FreshRows } from './lane-batch.js';
import { ONNX_PADDING } from './onnx-rules.js';

interface Held {
  readonly batch: LaneBatch;
  readonly count: number;
}

/** What the parts of a run hold, ready for the model: `[B, H, P, K]` arrays, and the batch entry of each part. */
export interface Past {
  readonly arrays: readonly Float32Array[];
  readonly entries: readonly number[];
}

/**
 * The keys and values of all lanes. Lanes that decode and lanes still being read lie in batches of their own: all decoding lanes of one width run
 * together, and then their batch is handed over without a copy.
 */
export class LaneStore {
  private readonly lanes = new Map<number, Held>();
  private readonly batches = new Map<string, LaneBatch>();

  constructor(private readonly shape: CacheShape) {}

  /** @param parts all of one layout. */
  past(parts: readonly RunPart[]): Past {
    const inOrder = parts.map((_, index) => index);
    if (parts[0].held === 0) return { arrays: Array.from({ length: 2 * this.shape.layers }, () => new Float32Array(0)), entries: inOrder };
    const batch = this.held(parts[0]).batch;
    const lanes = parts.map((part) => part.lane);
    const isWhole = batch.size === lanes.length && parts.every((part) => this.held(part).batch === batch);
    if (isWhole) return { arrays: batch.whole(), entries: lanes.map((lane) => batch.slotOf(lane)) };
    return { arrays: batch.gather(lanes), entries: inOrder };
  }

  /** Adds what a run gave a part, unless the lane is to be forgotten. @param rows undefined when the part's lane is to be forgotten. */
  settle(part: RunPart, rows: FreshRows | undefined): void {
    if (part.after === 'forget' || !rows) return this.forget(part.lane);
    const count = part.held + rows.count;
    const before = this.lanes.get(part.lane);
    const batch = this.batchFor(part.after, paddedTo(ONNX_PADDING.past, count));
    if (before?.batch !== batch) {
      batch.add(part.lane);
      if (before) this.move(part.lane, before, batch);
    }
    batch.append(part.lane, part.held, rows);
    this.lanes.set(part.lane, { batch, count });
  }

  forget(lane: number): void {
    const held = this.lanes.get(lane);
    if (!held) return;
    this.lanes.delete(lane);
    this.leave(held.batch, lane);
  }

  private held(part: RunPart): Held {
    const held = this.lanes.get(part.lane);
    if (held?.count === part.held) return held;
    throw new RuntimeFailed(`lane ${part.lane} holds ${held?.count ?? 0} positions where ${part.held} were expected`);
  }

  private move(lane: number, from: Held, to: LaneBatch): void {
    to.copyFrom(from.batch, lane, from.count);
    this.leave(from.batch, lane);
  }

  private leave(batch: LaneBatch, lane: number): void {
    batch.remove(lane);
    if (batch.size > 0) return;
    for (const [key, value] of this.batches) if (value === batch) this.batches.delete(key);
  }

  private batchFor(after: After, columns: number): LaneBatch {
    const key = `${after}:${columns}`;
    const existing = this.batches.get(key);
    if (existing) return existing;
    const batch = new LaneBatch(this.shape, columns);
    this.batches.set(key, batch);
    return batch;
  }
}

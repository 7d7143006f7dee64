import { InferenceSession, Tensor } from 'onnxruntime-node';
import { layoutOf, type Layout } from '../layout.js';
import type { OnnxOptions } from '../runtime-options.js';
import type { Draw, RunPart, RunRules, TeacherRows, TeacherRun, TeacherSession } from '../runtime.js';
import { RuntimeFailed } from '../teacher-server.errors.js';
import type { FreshRows } from './lane-batch.js';
import { LaneStore } from './lane-store.js';
import { ONNX_PADDING, onnxRules } from './onnx-rules.js';

const HEAD_OUTPUTS = ['top_ids', 'top_logits', 'label_logits', 'label_ranks', 'log_sum_exp', 'sampled_ids', 'sampled_logits'] as const;

/**
 * A `teacher.onnx` with the keys and values of its lanes. `run` blocks the calling thread for as long as the model computes, so it belongs into a
 * thread of its own.
 */
export class OnnxSession implements TeacherSession {
  readonly rules: RunRules;
  private readonly store: LaneStore;
  private readonly cacheInputs: readonly string[];
  private readonly cacheOutputs: readonly string[];

  private constructor(
    private readonly session: InferenceSession,
    private readonly options: OnnxOptions,
  ) {
    this.rules = onnxRules(options.vocabSize);
    this.store = new LaneStore(options.cache);
    this.cacheInputs = cacheNames('past', options.cache.layers);
    this.cacheOutputs = cacheNames('new', options.cache.layers);
  }

  /** @throws RuntimeFailed when the file is no `teacher.onnx` that this version runs. */
  static async open(options: OnnxOptions): Promise<OnnxSession> {
    const session = await load(options);
    const missing = HEAD_OUTPUTS.find((name) => !session.outputNames.includes(name));
    if (missing) throw new RuntimeFailed(`${options.modelPath} has no output ${missing}; remove the file, and it is built anew`);
    return new OnnxSession(session, options);
  }

  async run(run: TeacherRun): Promise<TeacherRows> {
    const { parts } = run;
    const layout = layoutOf(ONNX_PADDING, parts[0].held, parts[0].ids_S.length);
    const past = this.store.past(parts);
    const feeds = { ...this.positions(parts, layout, past.entries), ...this.pastTensors(past.arrays, parts.length, layout), ...rowTensors(run, layout, past.entries) };
    const isKept = parts.some((part) => part.after !== 'forget');
    const results = await this.session.run(feeds, isKept ? [...HEAD_OUTPUTS, ...this.cacheOutputs] : [...HEAD_OUTPUTS]);
    const arrays = isKept ? this.cacheOutputs.map((name) => floats(results, name)) : undefined;
    parts.forEach((part, index) => {
      const rows: FreshRows | undefined = arrays && { arrays, entry: past.entries[index], fresh: layout.fresh, count: part.ids_S.length };
      this.store.settle(part, rows);
    });
    return readRows(results);
  }

  forget(lane: number): void {
    this.store.forget(lane);
  }

  async close(): Promise<void> {
    await this.session.release();
  }

  /** Ids, positions and who may look where. A padded position looks at what is before it, like any other, and nobody looks at it. */
  private positions(parts: readonly RunPart[], { past, fresh }: Layout, entries: readonly number[]): InferenceSession.FeedsType {
    const total = past + fresh;
    const ids_BS = new BigInt64Array(parts.length * fresh);
    const positions_BS = new BigInt64Array(parts.length * fresh);
    const mask_BST = new Uint8Array(parts.length * fresh * total);
    parts.forEach((part, index) => {
      const base = entries[index] * fresh;
      for (let s = 0; s < fresh; s++) {
        ids_BS[base + s] = BigInt(part.ids_S[s] ?? 0);
        positions_BS[base + s] = BigInt(Math.min(part.held + s, this.options.maxPositions - 1));
        const row = (base + s) * total;
        mask_BST.fill(1, row, row + part.held);
        mask_BST.fill(1, row + past, row + past + s + 1);
      }
    });
    return {
      input_ids: new Tensor('int64', ids_BS, [parts.length, fresh]),
      position_ids: new Tensor('int64', positions_BS, [parts.length, fresh]),
      attention_mask: new Tensor('bool', mask_BST, [parts.length, 1, fresh, total]),
    };
  }

  private pastTensors(arrays: readonly Float32Array[], batch: number, { past }: Layout): InferenceSession.FeedsType {
    const { kvHeads, headDim } = this.options.cache;
    return Object.fromEntries(this.cacheInputs.map((name, index) => [name, new Tensor('float32', arrays[index], [batch, kvHeads, past, headDim])]));
  }
}

async function load({ modelPath, threads }: OnnxOptions): Promise<InferenceSession> {
  try {
    return await InferenceSession.create(modelPath, sessionOptions(threads));
  } catch (error) {
    throw new RuntimeFailed(`${modelPath} cannot be loaded: ${String(error)}`, { cause: error });
  }
}

function sessionOptions(threads: number): InferenceSession.SessionOptions {
  return {
    executionProviders: ['cpu'],
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    graphOptimizationLevel: 'all',
    // Plans are remembered per shape, and shapes never end here.
    enableMemPattern: false,
    // An idle pool that spins takes a core from whoever trains beside it.
    extra: { session: { intra_op: { allow_spinning: '0' }, inter_op: { allow_spinning: '0' } } },
  };
}

function cacheNames(prefix: string, layers: number): readonly string[] {
  return Array.from({ length: layers }, (_, layer) => [`${prefix}.${layer}.key`, `${prefix}.${layer}.value`]).flat();
}

/** The graph draws for every row. */
const NO_DRAW: Draw = { temperature: 1, uniform: 0 };

function rowTensors({ parts, k }: TeacherRun, { fresh }: Layout, entries: readonly number[]): InferenceSession.FeedsType {
  const asks = parts.flatMap((part, index) => part.rows.map(({ at, label, draw = NO_DRAW }) => ({ label, ...draw, flat: entries[index] * fresh + at })));
  // The graph wants a row at least; nobody reads this one.
  if (asks.length === 0) asks.push({ label: 0, ...NO_DRAW, flat: 0 });
  const R = asks.length;
  return {
    rows: new Tensor('int64', BigInt64Array.from(asks, (ask) => BigInt(ask.flat)), [R]),
    labels: new Tensor('int64', BigInt64Array.from(asks, (ask) => BigInt(ask.label)), [R]),
    k: new Tensor('int64', BigInt64Array.of(BigInt(k)), [1]),
    temperature: new Tensor('float32', Float32Array.from(asks, (ask) => ask.temperature), [R]),
    uniform: new Tensor('float32', Float32Array.from(asks, (ask) => ask.uniform), [R]),
  };
}

function readRows(results: InferenceSession.ReturnType): TeacherRows {
  return {
    topIds_RK: ids(results, 'top_ids'),
    topLogits_RK: floats(results, 'top_logits'),
    labelLogits_R: floats(results, 'label_logits'),
    labelRanks_R: ids(results, 'label_ranks'),
    logSumExp_R: floats(results, 'log_sum_exp'),
    sampledIds_R: ids(results, 'sampled_ids'),
    sampledLogits_R: floats(results, 'sampled_logits'),
  };
}

function floats(results: InferenceSession.ReturnType, name: string): Float32Array {
  const { data } = results[name];
  if (data instanceof Float32Array) return data;
  throw new RuntimeFailed(`output ${name} is not float32`);
}

function ids(results: InferenceSession.ReturnType, name: string): Int32Array {
  const { data } = results[name];
  if (data instanceof BigInt64Array) return Int32Array.from(data, Number);
  throw new RuntimeFailed(`output ${name} is not int64`);
}

import { InferenceSession, Tensor } from 'onnxruntime-node';

/** A session as the product opens it: a given number of threads, none of them spinning. */
export function openSession(path: string, threads = 2): Promise<InferenceSession> {
  return InferenceSession.create(path, { intraOpNumThreads: threads, extra: { session: { intra_op: { allow_spinning: '0' } } } });
}

/** The keys and values of one sequence, each [Hkv, length, K], in the order key, value, key, value… of the layers. */
export interface Cache {
  readonly length: number;
  readonly parts: readonly Float32Array[];
}

/** What one sequence of a batch asks of the teacher graph: new ids after a cache, and one distribution at each of `rows`. */
export interface TeacherAsk {
  readonly ids: readonly number[];
  readonly cache?: Cache;
  readonly rows: readonly TeacherRowAsk[];
}

export interface TeacherRowAsk {
  /** Index into `ids`. */
  readonly at: number;
  readonly label?: number;
  readonly temperature?: number;
  readonly uniform?: number;
}

export interface TeacherRow {
  readonly topIds: readonly number[];
  readonly topLogits: readonly number[];
  readonly labelLogit: number;
  readonly labelRank: number;
  readonly logSumExp: number;
  readonly sampledId: number;
  readonly sampledLogit: number;
}

export interface TeacherAnswer {
  readonly rows: readonly TeacherRow[];
  /** Of `cache` and `ids` together. */
  readonly cache: Cache;
}

export interface Shape {
  readonly layers: number;
  readonly kvHeads: number;
  readonly headDim: number;
}

/** Columns of held positions are a multiple of this, as the teacher graph asks for answers that do not depend on the batch. */
const PAST_MULTIPLE = 16;

/** Runs the teacher graph once over sequences padded on the right: caches to whole multiples of 16, new ids to the most of the batch. */
export async function askTeacher(session: InferenceSession, shape: Shape, batch: readonly TeacherAsk[], k: number): Promise<TeacherAnswer[]> {
  const S = Math.max(...batch.map(({ ids }) => ids.length));
  const P = Math.ceil(Math.max(...batch.map(({ cache }) => cache?.length ?? 0)) / PAST_MULTIPLE) * PAST_MULTIPLE;
  const rows = batch.flatMap((ask, b) => ask.rows.map((row) => ({ index: b * S + row.at, ...row })));
  const feeds: Record<string, Tensor> = {
    ...pastFeeds(shape, batch.map(({ cache }) => cache), { prefix: 'past', P }),
    input_ids: int64(batch.flatMap(({ ids }) => padded(ids, S)), [batch.length, S]),
    position_ids: int64(batch.flatMap(({ cache, ids }) => padded(ids.map((_, s) => (cache?.length ?? 0) + s), S)), [batch.length, S]),
    attention_mask: mask(batch, S, P),
    rows: int64(rows.map(({ index }) => index), [rows.length]),
    labels: int64(rows.map(({ label }) => label ?? 0), [rows.length]),
    k: int64([k], [1]),
    temperature: new Tensor('float32', Float32Array.from(rows, ({ temperature }) => temperature ?? 1), [rows.length]),
    uniform: new Tensor('float32', Float32Array.from(rows, ({ uniform }) => uniform ?? 0), [rows.length]),
  };
  const results = await session.run(feeds);
  let next = 0;
  return batch.map((ask, b) => ({
    rows: ask.rows.map(() => teacherRow(results, next++, k)),
    cache: grown(shape, { before: ask.cache, added: ask.ids.length }, (layer, part) => newPart(shape, results[`new.${layer}.${part}`], { b, S })),
  }));
}

export function int64(values: readonly number[], dims: readonly number[]): Tensor {
  return new Tensor('int64', BigInt64Array.from(values, BigInt), dims);
}

export function floats(value: InferenceSession.OnnxValueMapType[string]): Float32Array {
  if (value instanceof Tensor && value.data instanceof Float32Array) return value.data;
  throw new Error('expected a float32 tensor');
}

function ids(value: InferenceSession.OnnxValueMapType[string]): number[] {
  if (value instanceof Tensor && value.data instanceof BigInt64Array) return Array.from(value.data, Number);
  throw new Error('expected an int64 tensor');
}

/** Feeds `{prefix}.{layer}.key|value`, [B, Hkv, P, K], each cache at the left. */
export function pastFeeds(shape: Shape, caches: readonly (Cache | undefined)[], to: { prefix: string; P: number }): Record<string, Tensor> {
  const { layers, kvHeads, headDim } = shape;
  const feeds: Record<string, Tensor> = {};
  for (let part = 0; part < 2 * layers; part++) {
    const values = new Float32Array(caches.length * kvHeads * to.P * headDim);
    caches.forEach((cache, b) => {
      for (let head = 0; cache && head < kvHeads; head++) {
        const row = cache.parts[part].subarray(head * cache.length * headDim, (head + 1) * cache.length * headDim);
        values.set(row, (b * kvHeads + head) * to.P * headDim);
      }
    });
    feeds[`${to.prefix}.${part >> 1}.${part % 2 === 0 ? 'key' : 'value'}`] = new Tensor('float32', values, [caches.length, kvHeads, to.P, headDim]);
  }
  return feeds;
}

function mask(batch: readonly TeacherAsk[], S: number, P: number): Tensor {
  const T = P + S;
  const sees = new Uint8Array(batch.length * S * T);
  batch.forEach(({ cache }, b) => {
    for (let s = 0; s < S; s++) {
      for (let t = 0; t < T; t++) sees[(b * S + s) * T + t] = t < (cache?.length ?? 0) || (t >= P && t - P <= s) ? 1 : 0;
    }
  });
  return new Tensor('bool', sees, [batch.length, 1, S, T]);
}

function teacherRow(results: InferenceSession.OnnxValueMapType, row: number, k: number): TeacherRow {
  return {
    topIds: ids(results.top_ids).slice(row * k, (row + 1) * k),
    topLogits: Array.from(floats(results.top_logits).subarray(row * k, (row + 1) * k)),
    labelLogit: floats(results.label_logits)[row],
    labelRank: ids(results.label_ranks)[row],
    logSumExp: floats(results.log_sum_exp)[row],
    sampledId: ids(results.sampled_ids)[row],
    sampledLogit: floats(results.sampled_logits)[row],
  };
}

/** [Hkv, S, K] of one sequence. */
function newPart({ kvHeads, headDim }: Shape, tensor: InferenceSession.OnnxValueMapType[string], from: { b: number; S: number }): Float32Array {
  const size = kvHeads * from.S * headDim;
  return floats(tensor).slice(from.b * size, (from.b + 1) * size);
}

function grown(
  { layers, kvHeads, headDim }: Shape,
  growth: { before: Cache | undefined; added: number },
  part: (layer: number, name: 'key' | 'value') => Float32Array,
): Cache {
  const old = growth.before?.length ?? 0;
  const length = old + growth.added;
  const parts = Array.from({ length: 2 * layers }, (_, index) => {
    const added = part(index >> 1, index % 2 === 0 ? 'key' : 'value');
    const S = added.length / (kvHeads * headDim);
    const values = new Float32Array(kvHeads * length * headDim);
    for (let head = 0; head < kvHeads; head++) {
      if (growth.before) values.set(growth.before.parts[index].subarray(head * old * headDim, (head + 1) * old * headDim), head * length * headDim);
      values.set(added.subarray(head * S * headDim, (head * S + growth.added) * headDim), (head * length + old) * headDim);
    }
    return values;
  });
  return { length, parts };
}

function padded(values: readonly number[], size: number): number[] {
  return Array.from({ length: size }, (_, i) => values[i] ?? 0);
}

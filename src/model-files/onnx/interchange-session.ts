import { InferenceSession, Tensor } from 'onnxruntime-node';
import { AppError } from '../../common/errors.js';
import type { TokenIds } from '../../tokens/sample.js';
import type { ReferencePosition } from './agreement.js';

/** An ONNX model that cannot be loaded, or has not the inputs and outputs of `writeInterchangeModel`. */
export class InterchangeUnusable extends AppError {
  readonly code = 'model_files.onnx_unusable';
  readonly kind = 'invalid';
}

/** Read the model along given ids, or let it go on with its own most probable ones. */
export type InterchangeTask =
  | { readonly kind: 'score'; readonly ids_T: TokenIds; /** >= 1; positions predict `ids_T[from]` to the last. */ readonly from: number }
  | { readonly kind: 'greedy'; readonly ids_T: TokenIds; /** >= 1; how many to add, stop ids or not. */ readonly tokens: number };

export interface InterchangeResult {
  /** The ids of the task, and what a greedy one added. */
  readonly ids_T: TokenIds;
  /** One for each id scored or added. */
  readonly positions: readonly ReferencePosition[];
}

type Cache = Readonly<Record<string, Tensor>>;

/** An `onnx/model.onnx` as another program would use it. It blocks the calling thread while it computes. */
export class InterchangeSession {
  private constructor(
    private readonly session: InferenceSession,
    private readonly emptyCache: Cache,
  ) {}

  /** @throws InterchangeUnusable */
  static async open(modelPath: string, threads: number): Promise<InterchangeSession> {
    try {
      const session = await InferenceSession.create(modelPath, { intraOpNumThreads: threads, extra: { session: { intra_op: { allow_spinning: '0' } } } });
      return new InterchangeSession(session, emptyCache(session));
    } catch (cause) {
      throw new InterchangeUnusable(`${modelPath} cannot be used: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
    }
  }

  async run(task: InterchangeTask): Promise<InterchangeResult> {
    return task.kind === 'score' ? this.score(task.ids_T, task.from) : this.greedy(task.ids_T, task.tokens);
  }

  async close(): Promise<void> {
    await this.session.release();
  }

  private async score(ids_T: TokenIds, from: number): Promise<InterchangeResult> {
    const { logits_SV } = await this.forward(ids_T, 0, this.emptyCache);
    const positions = Array.from(ids_T.subarray(from), (id, i) => position(row(logits_SV, ids_T.length, from + i - 1), id));
    return { ids_T, positions };
  }

  private async greedy(prompt_T: TokenIds, tokens: number): Promise<InterchangeResult> {
    const ids = Array.from(prompt_T);
    const positions: ReferencePosition[] = [];
    let cache = this.emptyCache;
    let fresh = prompt_T;
    while (positions.length < tokens) {
      const result = await this.forward(fresh, ids.length - fresh.length, cache);
      const next = position(row(result.logits_SV, fresh.length, fresh.length - 1));
      positions.push(next);
      ids.push(next.greedyId);
      fresh = Int32Array.of(next.greedyId);
      cache = result.cache;
    }
    return { ids_T: Int32Array.from(ids), positions };
  }

  private async forward(ids_S: TokenIds, held: number, cache: Cache): Promise<{ readonly logits_SV: Float32Array; readonly cache: Cache }> {
    const fresh = ids_S.length;
    const results = await this.session.run({
      ...cache,
      input_ids: int64(Array.from(ids_S)),
      attention_mask: int64(new Array<number>(held + fresh).fill(1)),
      position_ids: int64(Array.from({ length: fresh }, (_, s) => held + s)),
    });
    const { logits, ...present } = results;
    if (!(logits.data instanceof Float32Array)) throw new InterchangeUnusable(`the model's logits are ${logits.type}; they must be float32`);
    const grown = Object.entries(present).map(([name, tensor]) => [name.replace('present', 'past_key_values'), tensor] as const);
    return { logits_SV: logits.data, cache: Object.fromEntries(grown) };
  }
}

function emptyCache({ inputMetadata }: InferenceSession): Cache {
  const cache: Record<string, Tensor> = {};
  for (const input of inputMetadata) {
    if (!input.name.startsWith('past_key_values.') || !input.isTensor) continue;
    const [, heads, , width] = input.shape;
    if (typeof heads !== 'number' || typeof width !== 'number') throw new InterchangeUnusable(`its input ${input.name} does not say its heads and their width`);
    cache[input.name] = new Tensor('float32', new Float32Array(0), [1, heads, 0, width]);
  }
  return cache;
}

function int64(values: readonly number[]): Tensor {
  return new Tensor('int64', BigInt64Array.from(values, BigInt), [1, values.length]);
}

function row(logits_SV: Float32Array, rows: number, index: number): Float32Array {
  const vocab = logits_SV.length / rows;
  return logits_SV.subarray(index * vocab, (index + 1) * vocab);
}

/** @param id the id that follows; the most probable one when left out. */
function position(logits_V: Float32Array, id?: number): ReferencePosition {
  let greedyId = 0;
  let second = -Infinity;
  for (let v = 1; v < logits_V.length; v++) {
    if (logits_V[v] > logits_V[greedyId]) {
      second = logits_V[greedyId];
      greedyId = v;
    } else if (logits_V[v] > second) {
      second = logits_V[v];
    }
  }
  const best = logits_V[greedyId];
  let mass = 0;
  for (const logit of logits_V) mass += Math.exp(logit - best);
  return { actualLogProb: logits_V[id ?? greedyId] - best - Math.log(mass), greedyId, greedyGap: best - second };
}

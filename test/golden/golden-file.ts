import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { decodeSafetensors, type NamedTensor } from '../../src/model-files/safetensors.js';
import type { OptimStep } from '../../src/engine/engine.js';
import type { PackedBatch } from '../../src/tokens/batch.js';
import type { LossKind } from '../../src/tokens/loss.js';

/** What `generate.py` recorded for one model. Gradients are those of the loss sum divided by the batch's weight. */
export interface Golden {
  /** The Hugging Face directory. */
  readonly modelDir: string;
  readonly batch: PackedBatch;
  readonly logits_NV: Float64Array;
  /** From transformers untouched, in its own float32. */
  readonly logitsFloat32_NV: Float32Array;
  readonly lossNats: (kind: LossKind) => number;
  readonly gradients: (kind: LossKind) => Map<string, Float64Array>;
  /** How far transformers' own bf16 run lies from float64: largest and root mean square distance of a log-prob, relative L2 distance of a loss's gradient. */
  readonly bf16: { readonly logProb: number; readonly logProbRms: number; readonly gradient: (kind: LossKind) => number };
  readonly greedy: { readonly prompt_T: Int32Array; readonly ids_T: Int32Array; readonly gaps_T: Float64Array };
  readonly training: {
    readonly optimiser: OptimStep;
    readonly kinds: readonly LossKind[];
    readonly losses: Float64Array;
    readonly norms: Float64Array;
    readonly final: Map<string, Float64Array>;
  };
}

export const GOLDEN_MODELS = ['tied', 'untied', 'llama3', 'qwen2', 'qwen3-tied', 'qwen3-untied'] as const;

/** Reads the committed golden of one model. */
export async function readGolden(model: (typeof GOLDEN_MODELS)[number]): Promise<Golden> {
  const modelDir = join(import.meta.dirname, 'files', model);
  const path = join(modelDir, 'golden.safetensors');
  const { tensors, metadata } = decodeSafetensors(await readFile(path), path);
  const int32 = (name: string): Int32Array => new Int32Array(bytesOf(tensors, name, 'I32'));
  const float32 = (name: string): Float32Array => new Float32Array(bytesOf(tensors, name, 'F32'));
  const float64 = (name: string): Float64Array => new Float64Array(bytesOf(tensors, name, 'F64'));
  const group = (prefix: string): Map<string, Float64Array> =>
    new Map([...tensors.keys()].filter((name) => name.startsWith(prefix)).map((name) => [name.slice(prefix.length), float64(name)]));
  const about = JSON.parse(metadata.golden) as { readonly optimiser: OptimStep; readonly losses: readonly LossKind[] };
  return {
    modelDir,
    batch: {
      tokens_N: int32('tokens_N'), cuSeqlens_S1: int32('cuSeqlens_S1'), rows_R: int32('rows_R'), weights_R: float32('weights_R'), labels_R: int32('labels_R'),
      targets: { offsets_R1: int32('offsets_R1'), ids_E: int32('ids_E'), logProbs_E: float32('logProbs_E'), tail_R: float32('tail_R') },
    },
    logits_NV: float64('logits_NV'),
    logitsFloat32_NV: float32('logits_float32_NV'),
    lossNats: (kind) => float64(`loss.${kind}`)[0],
    gradients: (kind) => group(`gradient.${kind}.`),
    bf16: { logProb: float64('bf16.logProb')[0], logProbRms: float64('bf16.logProbRms')[0], gradient: (kind) => float64(`bf16.gradient.${kind}`)[0] },
    greedy: { prompt_T: int32('greedy.prompt_T'), ids_T: int32('greedy.ids_T'), gaps_T: float64('greedy.gaps_T') },
    training: {
      optimiser: about.optimiser,
      kinds: about.losses,
      losses: float64('train.losses'),
      norms: float64('train.norms'),
      final: group('final.'),
    },
  };
}

function bytesOf(tensors: ReadonlyMap<string, NamedTensor>, name: string, dtype: NamedTensor['dtype']): ArrayBuffer {
  const tensor = tensors.get(name);
  if (tensor?.dtype !== dtype) throw new Error(`the golden file has no ${dtype} tensor ${name}`);
  return new Uint8Array(tensor.bytes).buffer;
}

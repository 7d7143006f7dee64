import { join } from 'node:path';
import { z } from 'zod';
import { ModelConfigInvalid } from './errors.js';
import { codeKeyOf, readJsonObject, readOptionalJsonObject } from './json-file.js';

/**
 * Families of decoders with RMSNorm, half-split RoPE, grouped heads and SwiGLU. Qwen2 (and 2.5) adds a bias to q, k and v; Qwen3 (dense) normalises each head of
 * q and k before it turns them.
 */
export type Architecture = 'llama' | 'qwen2' | 'qwen3';

/** How `rope_type: llama3` slows the rotations down whose wave length exceeds what the model was first trained on; see `rotationFrequencies`. */
export interface RopeScaling {
  readonly factor: number;
  readonly lowFreqFactor: number;
  /** Above `lowFreqFactor`. */
  readonly highFreqFactor: number;
  readonly originalMaxPositions: number;
}

/** What a decoder is made of. */
export interface ModelConfig {
  readonly architecture: Architecture;
  /** Rows of the embedding; ids lie in [0, vocabSize). */
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  /** Divides `heads`. */
  readonly kvHeads: number;
  /** Even. Not always hiddenSize / heads. */
  readonly headDim: number;
  readonly rmsNormEps: number;
  readonly ropeTheta: number;
  /** Null: none. */
  readonly ropeScaling: RopeScaling | null;
  readonly maxPositions: number;
  /** The head is the embedding; a stored `lm_head.weight` is then ignored. */
  readonly tiedEmbeddings: boolean;
  readonly bosId: number | null;
  /** Every id that ends a completion: the union of config.json and generation_config.json, ascending. */
  readonly eosIds: readonly number[];
  readonly padId: number | null;
}

/** No configuration known is larger than a few kilobytes. Bytes. */
const MAX_CONFIG_BYTES = 1_000_000;

const count = z.int().min(1).max(2 ** 31 - 1);
/** Lists of tensors grow with it; the deepest models known have a few hundred. */
const layerCount = z.int().min(1).max(10_000);
const tokenId = z.int().min(0).nullish();
const positive = z.number().positive();
const rope = z.looseObject({
  rope_theta: positive.optional(),
  rope_type: z.string().optional(),
  type: z.string().optional(),
  factor: positive.optional(),
  low_freq_factor: positive.optional(),
  high_freq_factor: positive.optional(),
  original_max_position_embeddings: count.optional(),
});

/** What each family's configuration says of itself; defaults are those of its configuration class in transformers. */
const FAMILIES: Readonly<Record<Architecture, { readonly causalLM: string; readonly headDim?: number; readonly maxPositions: number }>> = {
  llama: { causalLM: 'LlamaForCausalLM', maxPositions: 2048 },
  qwen2: { causalLM: 'Qwen2ForCausalLM', maxPositions: 32768 },
  qwen3: { causalLM: 'Qwen3ForCausalLM', headDim: 128, maxPositions: 32768 },
};

/** Fields of config.json that Limbeck reads; others are ignored. */
const decoderJson = z.looseObject({
  model_type: z.enum(['llama', 'qwen2', 'qwen3']),
  architectures: z.array(z.string()).nullish(),
  vocab_size: count,
  hidden_size: count,
  intermediate_size: count,
  num_hidden_layers: layerCount,
  num_attention_heads: count,
  num_key_value_heads: count.nullish(),
  head_dim: count.nullish(),
  hidden_act: z.literal('silu').default('silu'),
  rms_norm_eps: z.number().positive().default(1e-6),
  rope_theta: z.number().positive().optional(),
  rope_parameters: rope.nullish(),
  rope_scaling: rope.nullish(),
  rope_interleaved: z.literal(false).nullish(),
  partial_rotary_factor: z.literal(1).nullish(),
  max_position_embeddings: count.optional(),
  use_sliding_window: z.literal(false).default(false),
  layer_types: z.array(z.literal('full_attention')).nullish(),
  attention_bias: z.literal(false).default(false),
  mlp_bias: z.literal(false).default(false),
  quantization_config: z.null().optional(),
  tie_word_embeddings: z.boolean().default(false),
  bos_token_id: tokenId,
  eos_token_id: z.union([z.int(), z.array(z.int())]).nullish(),
  pad_token_id: z.int().min(-1).nullish(),
});

const generationJson = z.looseObject({ bos_token_id: tokenId, eos_token_id: decoderJson.shape.eos_token_id, pad_token_id: decoderJson.shape.pad_token_id });

/**
 * Reads config.json (old and transformers 5 keys) and, where there is one, generation_config.json.
 * @throws ModelFileMissing, ModelFileMalformed, ModelConfigInvalid naming the field, its value and what would do.
 */
export async function readModelConfig(dir: string): Promise<ModelConfig> {
  const path = join(dir, 'config.json');
  const generationPath = join(dir, 'generation_config.json');
  const json = parse(decoderJson, await readObject(path), path);
  const generation = parse(generationJson, (await readOptionalJsonObject(generationPath, MAX_CONFIG_BYTES)) ?? {}, generationPath);
  const family = FAMILIES[json.model_type];
  checkClass(json.architectures ?? [], family.causalLM, path);
  const config: ModelConfig = {
    architecture: json.model_type,
    vocabSize: json.vocab_size,
    hiddenSize: json.hidden_size,
    intermediateSize: json.intermediate_size,
    layers: json.num_hidden_layers,
    heads: json.num_attention_heads,
    kvHeads: json.num_key_value_heads ?? json.num_attention_heads,
    headDim: json.head_dim ?? family.headDim ?? json.hidden_size / json.num_attention_heads,
    rmsNormEps: json.rms_norm_eps,
    ropeTheta: ropeTheta(json, path),
    ropeScaling: ropeScaling(json, path),
    maxPositions: json.max_position_embeddings ?? family.maxPositions,
    tiedEmbeddings: json.tie_word_embeddings,
    bosId: json.bos_token_id ?? generation.bos_token_id ?? null,
    eosIds: union(json.eos_token_id, generation.eos_token_id),
    padId: knownPad(json.pad_token_id) ?? knownPad(generation.pad_token_id),
  };
  checkConfig(config, path);
  return config;
}

/** config.json of the model: keys for transformers 4 and 5 alike. Carries no element type; a directory's writer adds it. */
export function configJson(config: ModelConfig): object {
  return {
    architectures: [FAMILIES[config.architecture].causalLM],
    model_type: config.architecture,
    vocab_size: config.vocabSize,
    hidden_size: config.hiddenSize,
    intermediate_size: config.intermediateSize,
    num_hidden_layers: config.layers,
    num_attention_heads: config.heads,
    num_key_value_heads: config.kvHeads,
    head_dim: config.headDim,
    hidden_act: 'silu',
    rms_norm_eps: config.rmsNormEps,
    rope_theta: config.ropeTheta,
    rope_scaling: config.ropeScaling && scalingJson(config.ropeScaling),
    rope_parameters: { ...(config.ropeScaling ? scalingJson(config.ropeScaling) : { rope_type: 'default' }), rope_theta: config.ropeTheta },
    max_position_embeddings: config.maxPositions,
    attention_dropout: 0,
    ...(config.architecture === 'qwen2' ? {} : { attention_bias: false }),
    ...(config.architecture === 'llama' ? { mlp_bias: false } : { use_sliding_window: false }),
    tie_word_embeddings: config.tiedEmbeddings,
    ...generationConfigJson(config),
  };
}

/** generation_config.json of the model: the ids that begin, end and pad; one end id as a number, several as a list. */
export function generationConfigJson({ bosId, eosIds, padId }: ModelConfig): object {
  return { bos_token_id: bosId, eos_token_id: eosIds.length > 1 ? eosIds : (eosIds[0] ?? null), pad_token_id: padId };
}

/** @throws ModelConfigInvalid when sizes do not fit each other or an id lies outside the vocabulary. */
export function checkConfig(config: ModelConfig, where: string): void {
  const { vocabSize, heads, kvHeads, headDim, eosIds, bosId, padId } = config;
  if (!Number.isInteger(headDim)) throw new ModelConfigInvalid(`${where}: hidden_size ${config.hiddenSize} does not divide by num_attention_heads ${heads}; state head_dim`);
  if (headDim % 2 !== 0) throw new ModelConfigInvalid(`${where}: head_dim is ${headDim}; rotary positions need an even one`);
  if (heads % kvHeads !== 0) throw new ModelConfigInvalid(`${where}: num_attention_heads ${heads} does not divide by num_key_value_heads ${kvHeads}`);
  for (const id of [...eosIds, bosId ?? 0, padId ?? 0]) {
    if (id < 0 || id >= vocabSize) throw new ModelConfigInvalid(`${where}: token id ${id} of bos, eos or pad lies outside [0, ${vocabSize})`);
  }
}

/** Whether q, k and v have a bias. */
export function hasQkvBias({ architecture }: Pick<ModelConfig, 'architecture'>): boolean {
  return architecture === 'qwen2';
}

/** Whether each head of q and k is normalised before it turns. */
export function hasQkNorm({ architecture }: Pick<ModelConfig, 'architecture'>): boolean {
  return architecture === 'qwen3';
}

function checkClass(stated: readonly string[], wanted: string, where: string): void {
  const other = stated.findIndex((name) => name !== wanted);
  if (other >= 0) throw new ModelConfigInvalid(`${where}: architectures.${other} is ${JSON.stringify(stated[other])}; this model_type is run as "${wanted}"`);
}

type DecoderJson = z.infer<typeof decoderJson>;
type RopeJson = z.infer<typeof rope>;

function statedRopes({ rope_scaling, rope_parameters }: DecoderJson): [string, RopeJson][] {
  return Object.entries({ rope_scaling, rope_parameters }).filter((entry): entry is [string, RopeJson] => entry[1] !== null && entry[1] !== undefined);
}

function ropeTheta(json: DecoderJson, where: string): number {
  const stated = [json, ...statedRopes(json).map(([, value]) => value)].map(({ rope_theta }) => rope_theta).filter((theta) => theta !== undefined);
  if (new Set(stated).size > 1) throw new ModelConfigInvalid(`${where}: rope_theta stands twice and differs: ${stated.join(' and ')}`);
  return stated[0] ?? 10000;
}

function ropeScaling(json: DecoderJson, where: string): RopeScaling | null {
  const scalings = statedRopes(json)
    .map(([field, value]) => scalingOf(field, value, where))
    .filter((scaling) => scaling !== null);
  if (new Set(scalings.map((scaling) => JSON.stringify(scaling))).size > 1) throw new ModelConfigInvalid(`${where}: rope_scaling and rope_parameters differ`);
  return scalings[0] ?? null;
}

function scalingOf(field: string, value: RopeJson, where: string): RopeScaling | null {
  const kind = value.rope_type ?? value.type ?? 'default';
  if (kind === 'default' || kind === 'none') return null;
  if (kind !== 'llama3') throw new ModelConfigInvalid(`${where}: ${field} asks for "${kind}"; "default" and "llama3" are run`);
  const read = (key: 'factor' | 'low_freq_factor' | 'high_freq_factor' | 'original_max_position_embeddings'): number => {
    const stated = value[key];
    if (stated === undefined) throw new ModelConfigInvalid(`${where}: ${field} asks for "llama3" and lacks ${key}`);
    return stated;
  };
  const scaling = {
    factor: read('factor'),
    lowFreqFactor: read('low_freq_factor'),
    highFreqFactor: read('high_freq_factor'),
    originalMaxPositions: read('original_max_position_embeddings'),
  };
  if (scaling.factor < 1) throw new ModelConfigInvalid(`${where}: ${field}.factor is ${scaling.factor}; it stretches positions and is at least 1`);
  if (scaling.highFreqFactor <= scaling.lowFreqFactor) throw new ModelConfigInvalid(`${where}: ${field}.high_freq_factor ${scaling.highFreqFactor} must exceed low_freq_factor ${scaling.lowFreqFactor}`);
  return scaling;
}

function scalingJson({ factor, lowFreqFactor, highFreqFactor, originalMaxPositions }: RopeScaling): object {
  return { rope_type: 'llama3', factor, low_freq_factor: lowFreqFactor, high_freq_factor: highFreqFactor, original_max_position_embeddings: originalMaxPositions };
}

function union(...found: (number | number[] | null | undefined)[]): number[] {
  return [...new Set(found.flatMap((ids) => ids ?? []))].sort((a, b) => a - b);
}

/** Old Llama files write -1 for no padding token. */
function knownPad(id: number | null | undefined): number | null {
  return id === undefined || id === -1 ? null : id;
}

async function readObject(path: string): Promise<Record<string, unknown>> {
  const json = await readJsonObject(path, MAX_CONFIG_BYTES);
  const code = codeKeyOf(json);
  if (code !== undefined) throw new ModelConfigInvalid(`${path}: ${code} asks for code of the model's own; Limbeck runs none. Remove the key if the model is a plain one of its family`);
  return json;
}

function parse<T>(schema: z.ZodType<T>, json: Record<string, unknown>, where: string): T {
  const outcome = schema.safeParse(json);
  if (outcome.success) return outcome.data;
  const [{ path, message }] = outcome.error.issues;
  const value = path.reduce<unknown>((at, key) => (typeof at === 'object' && at !== null ? Object.getOwnPropertyDescriptor(at, key)?.value : undefined), json);
  throw new ModelConfigInvalid(`${where}: ${path.join('.')} is ${JSON.stringify(value) ?? 'absent'}: ${message}`);
}

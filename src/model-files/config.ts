import { join } from 'node:path';
import { z } from 'zod';
import { ModelConfigInvalid } from './errors.js';
import { codeKeyOf, readJsonObject, readOptionalJsonObject } from './json-file.js';

/** A decoder of Llama architecture: RMSNorm, half-split RoPE without scaling, grouped heads, SwiGLU, no biases. */
export interface ModelConfig {
  readonly architecture: 'llama';
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
const tokenId = z.int().min(0).nullish();
const rope = z.looseObject({ rope_theta: z.number().positive().optional(), rope_type: z.string().optional(), type: z.string().optional() });

/** Fields of config.json that Limbeck reads, with the defaults of transformers' LlamaConfig; others are ignored. */
const llamaJson = z.looseObject({
  model_type: z.literal('llama'),
  architectures: z.array(z.literal('LlamaForCausalLM')).nullish(),
  vocab_size: count,
  hidden_size: count,
  intermediate_size: count,
  num_hidden_layers: count,
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
  max_position_embeddings: count.default(2048),
  attention_bias: z.literal(false).default(false),
  mlp_bias: z.literal(false).default(false),
  quantization_config: z.null().optional(),
  tie_word_embeddings: z.boolean().default(false),
  bos_token_id: tokenId,
  eos_token_id: z.union([z.int(), z.array(z.int())]).nullish(),
  pad_token_id: z.int().min(-1).nullish(),
});

const generationJson = z.looseObject({ bos_token_id: tokenId, eos_token_id: llamaJson.shape.eos_token_id, pad_token_id: llamaJson.shape.pad_token_id });

/**
 * Reads config.json (old and transformers 5 keys) and, where there is one, generation_config.json.
 * @throws ModelFileMissing, ModelFileMalformed, ModelConfigInvalid naming the field, its value and what would do.
 */
export async function readModelConfig(dir: string): Promise<ModelConfig> {
  const path = join(dir, 'config.json');
  const generationPath = join(dir, 'generation_config.json');
  const json = parse(llamaJson, await readObject(path), path);
  const generation = parse(generationJson, (await readOptionalJsonObject(generationPath, MAX_CONFIG_BYTES)) ?? {}, generationPath);
  const config: ModelConfig = {
    architecture: 'llama',
    vocabSize: json.vocab_size,
    hiddenSize: json.hidden_size,
    intermediateSize: json.intermediate_size,
    layers: json.num_hidden_layers,
    heads: json.num_attention_heads,
    kvHeads: json.num_key_value_heads ?? json.num_attention_heads,
    headDim: json.head_dim ?? json.hidden_size / json.num_attention_heads,
    rmsNormEps: json.rms_norm_eps,
    ropeTheta: ropeTheta(json, path),
    maxPositions: json.max_position_embeddings,
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
    architectures: ['LlamaForCausalLM'],
    model_type: 'llama',
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
    rope_scaling: null,
    rope_parameters: { rope_type: 'default', rope_theta: config.ropeTheta },
    max_position_embeddings: config.maxPositions,
    attention_bias: false,
    attention_dropout: 0,
    mlp_bias: false,
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

function ropeTheta(json: z.infer<typeof llamaJson>, where: string): number {
  for (const [field, value] of Object.entries({ rope_scaling: json.rope_scaling, rope_parameters: json.rope_parameters })) {
    const kind = value?.rope_type ?? value?.type ?? 'default';
    if (kind !== 'default' && kind !== 'none') throw new ModelConfigInvalid(`${where}: ${field} asks for "${kind}"; only "default", without scaling, is run`);
  }
  const stated = [json.rope_theta, json.rope_parameters?.rope_theta, json.rope_scaling?.rope_theta].filter((theta) => theta !== undefined);
  if (new Set(stated).size > 1) throw new ModelConfigInvalid(`${where}: rope_theta stands twice and differs: ${stated.join(' and ')}`);
  return stated[0] ?? 10000;
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
  if (code !== undefined) throw new ModelConfigInvalid(`${path}: ${code} asks for code of the model's own; Limbeck runs none. Remove the key if the model is a plain Llama`);
  return json;
}

function parse<T>(schema: z.ZodType<T>, json: Record<string, unknown>, where: string): T {
  const outcome = schema.safeParse(json);
  if (outcome.success) return outcome.data;
  const [{ path, message }] = outcome.error.issues;
  const value = path.reduce<unknown>((at, key) => (typeof at === 'object' && at !== null ? Object.getOwnPropertyDescriptor(at, key)?.value : undefined), json);
  throw new ModelConfigInvalid(`${where}: ${path.join('.')} is ${JSON.stringify(value) ?? 'absent'}: ${message}`);
}

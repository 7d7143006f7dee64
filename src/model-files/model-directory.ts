import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { hasCode, refuseTaken, writeDirectoryAtomic, writeFileAtomic } from './atomic.js';
import { checkConfig, configJson, generationConfigJson, readModelConfig, type ModelConfig } from './config.js';
import { ModelDirectoryInvalid, ModelFileMissing } from './errors.js';
import { isObject, readOptionalJsonObject, writeJson } from './json-file.js';
import { expectedTensors } from './parameters.js';
import { SafetensorsFile, writeSafetensors, type LazyTensor, type NamedTensor, type SafeDType } from './safetensors.js';

export { toBf16Bits, toFloat32 } from './floats.js';

const SINGLE = 'model.safetensors';
const INDEX = 'model.safetensors.index.json';
const FLOAT_DTYPES: readonly SafeDType[] = ['BF16', 'F16', 'F32'];
/** What carries a tokenizer and its template from one directory to another. */
const TOKENIZER_FILES = ['tokenizer.json', 'tokenizer_config.json', 'special_tokens_map.json', 'chat_template.jinja'];
const TORCH_NAMES: Readonly<Partial<Record<SafeDType, string>>> = { BF16: 'bfloat16', F16: 'float16', F32: 'float32' };

/** A Hugging Face directory whose tensors are known to be those its configuration asks for. Weights are read when asked for. */
export class ModelDirectory {
  private constructor(
    readonly dir: string,
    readonly config: ModelConfig,
    private readonly files: readonly SafetensorsFile[],
    private readonly places: ReadonlyMap<string, SafetensorsFile>,
  ) {}

  /**
   * Opens `model.safetensors`, or the shards that `model.safetensors.index.json` names, and checks that every tensor is there with its shape and
   * a float dtype. `lm_head.weight` beside tied embeddings and stored rotary frequencies are ignored; any other tensor too many is refused.
   * @throws ModelFileMissing, ModelFileMalformed, ModelConfigInvalid, SafetensorsInvalid, ModelDirectoryInvalid
   */
  static async open(dir: string): Promise<ModelDirectory> {
    const config = await readModelConfig(dir);
    const files: SafetensorsFile[] = [];
    try {
      const places = await openWeights(dir, files);
      checkTensors(config, places, dir);
      const expected = expectedTensors(config);
      return new ModelDirectory(dir, config, files, new Map([...places].filter(([name]) => expected.has(name))));
    } catch (cause) {
      await closeAll(files);
      throw cause;
    }
  }

  /** The tensors the configuration asks for, by their Hugging Face names, in the order of the forward pass. */
  get names(): readonly string[] {
    return [...expectedTensors(this.config).keys()];
  }

  /** @throws ModelDirectoryInvalid for a name not in `names`. */
  async tensor(name: string): Promise<NamedTensor> {
    const file = this.places.get(name);
    if (file === undefined) throw new ModelDirectoryInvalid(`${this.dir} holds no tensor ${JSON.stringify(name)}`);
    return file.read(name);
  }

  /** The tensor's bytes as `SafetensorsFile.pieces` gives them, and their kind. @throws ModelDirectoryInvalid for a name not in `names`. */
  pieces(name: string, buffer: Uint8Array): { readonly dtype: SafeDType; readonly pieces: AsyncIterable<Uint8Array> } {
    const file = this.places.get(name);
    const entry = file?.entries.get(name);
    if (file === undefined || entry === undefined) throw new ModelDirectoryInvalid(`${this.dir} holds no tensor ${JSON.stringify(name)}`);
    return { dtype: entry.dtype, pieces: file.pieces(name, buffer) };
  }

  /** The tensor's kind and shape without its bytes; they follow when it is written. Valid until `close`. */
  lazyTensor(name: string): LazyTensor {
    const file = this.places.get(name);
    const entry = file?.entries.get(name);
    if (file === undefined || entry === undefined) throw new ModelDirectoryInvalid(`${this.dir} holds no tensor ${JSON.stringify(name)}`);
    return { name, dtype: entry.dtype, shape: entry.shape, read: async () => (await file.read(name)).bytes };
  }

  async close(): Promise<void> {
    await closeAll(this.files);
  }
}

/** What `writeModelDirectory` writes. */
export interface ModelDirectoryContents {
  readonly config: ModelConfig;
  /** Exactly the tensors the configuration asks for. */
  readonly tensors: readonly (NamedTensor | LazyTensor)[];
  /** A directory whose tokenizer and chat template are copied, where it has them. */
  readonly copyTokenizerFrom?: string;
  /** Further files by plain name, such as README.md; they win over copied ones. */
  readonly extraFiles?: Readonly<Record<string, string | Uint8Array>>;
}

/**
 * Writes a Hugging Face directory whole or not at all: aside, synced, renamed. Reading it back gives the same configuration and bits.
 * @throws OutputTaken when `dir` exists and is not empty; ModelConfigInvalid, ModelDirectoryInvalid before anything is written; ModelDiskFull.
 */
export async function writeModelDirectory(dir: string, contents: ModelDirectoryContents): Promise<void> {
  const { config, tensors, copyTokenizerFrom, extraFiles = {} } = contents;
  checkConfig(config, dir);
  checkTensors(config, new Map(tensors.map((tensor) => [tensor.name, { entries: new Map([[tensor.name, tensor]]) }])), dir);
  for (const name of Object.keys(extraFiles)) checkPlainName(name, dir);
  await refuseTaken(dir);
  await writeDirectoryAtomic(dir, async (aside) => {
    await writeJson(join(aside, 'config.json'), { ...configJson(config), torch_dtype: TORCH_NAMES[tensors[0].dtype] });
    await writeJson(join(aside, 'generation_config.json'), generationConfigJson(config));
    if (copyTokenizerFrom !== undefined) await copyTokenizer(copyTokenizerFrom, aside);
    for (const [name, body] of Object.entries(extraFiles)) {
      await writeFileAtomic(join(aside, name), typeof body === 'string' ? new TextEncoder().encode(body) : body);
    }
    await writeSafetensors(join(aside, SINGLE), tensors, { format: 'pt' });
  });
}

async function openWeights(dir: string, opened: SafetensorsFile[]): Promise<Map<string, SafetensorsFile>> {
  const index = await readOptionalJsonObject(join(dir, INDEX));
  if (index === undefined) {
    const file = await openOnly(dir);
    opened.push(file);
    return new Map([...file.entries.keys()].map((name) => [name, file]));
  }
  const shards = new Map<string, SafetensorsFile>();
  const places = new Map<string, SafetensorsFile>();
  for (const [name, shardName] of weightMap(index, join(dir, INDEX))) {
    const shard = shards.get(shardName) ?? (await SafetensorsFile.open(join(dir, shardName)));
    if (!shards.has(shardName)) opened.push(shard);
    shards.set(shardName, shard);
    if (!shard.entries.has(name)) throw new ModelDirectoryInvalid(`${join(dir, INDEX)} says ${shardName} holds ${JSON.stringify(name)}; it does not`);
    places.set(name, shard);
  }
  return places;
}

async function openOnly(dir: string): Promise<SafetensorsFile> {
  try {
    return await SafetensorsFile.open(join(dir, SINGLE));
  } catch (cause) {
    if (!(cause instanceof ModelFileMissing)) throw cause;
    throw new ModelFileMissing(`${dir} holds neither ${SINGLE} nor ${INDEX}; a model directory needs one of them`, { cause });
  }
}

function weightMap(index: Record<string, unknown>, where: string): [string, string][] {
  if (!isObject(index.weight_map)) throw new ModelDirectoryInvalid(`${where} must hold an object weight_map`);
  return Object.entries(index.weight_map).map(([name, shardName]) => {
    if (typeof shardName !== 'string') throw new ModelDirectoryInvalid(`${where}: weight_map ${JSON.stringify(name)} must be a file name`);
    checkPlainName(shardName, where);
    return [name, shardName];
  });
}

/** A name from a file never leads out of its directory. */
function checkPlainName(name: string, where: string): void {
  if (/^[A-Za-z0-9_][A-Za-z0-9._-]*$/.test(name)) return;
  throw new ModelDirectoryInvalid(`${where}: ${JSON.stringify(name)} is not a plain file name (letters, digits, "_", "-", "."; no directory)`);
}

type HoldsTensors = { readonly entries: ReadonlyMap<string, { readonly dtype: SafeDType; readonly shape: readonly number[] }> };

function checkTensors(config: ModelConfig, places: ReadonlyMap<string, HoldsTensors>, where: string): void {
  const expected = expectedTensors(config);
  for (const [name, shape] of expected) {
    const entry = places.get(name)?.entries.get(name);
    if (entry === undefined) throw new ModelDirectoryInvalid(`${where} lacks the tensor ${JSON.stringify(name)} that its configuration asks for`);
    if (entry.shape.join() !== shape.join()) {
      throw new ModelDirectoryInvalid(`${where}: ${JSON.stringify(name)} has shape [${entry.shape.join(', ')}]; the configuration asks for [${shape.join(', ')}]`);
    }
    if (!FLOAT_DTYPES.includes(entry.dtype)) {
      throw new ModelDirectoryInvalid(`${where}: ${JSON.stringify(name)} holds ${entry.dtype}; weights are ${FLOAT_DTYPES.join(', ')}`);
    }
  }
  const surplus = [...places.keys()].find((name) => !expected.has(name) && !isIgnored(name));
  if (surplus !== undefined) throw new ModelDirectoryInvalid(`${where} holds ${JSON.stringify(surplus)}, which a model of this configuration does not have`);
}

function isIgnored(name: string): boolean {
  return name === 'lm_head.weight' || name.endsWith('.rotary_emb.inv_freq');
}

async function copyTokenizer(from: string, to: string): Promise<void> {
  for (const name of TOKENIZER_FILES) {
    try {
      await copyFile(join(from, name), join(to, name));
    } catch (cause) {
      if (!hasCode(cause, 'ENOENT')) throw cause;
    }
  }
}

async function closeAll(files: readonly SafetensorsFile[]): Promise<void> {
  await Promise.all(files.map((file) => file.close()));
}

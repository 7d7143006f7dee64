import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { isObject, readJsonObject, writeJson } from '../json-file.js';
import { ModelDirectory } from '../model-directory.js';
import { cacheNames, flatNames } from './cache-names.js';
import { addDecoder, addHead, type Decoder } from './decoder-graph.js';
import { DecoderWeights } from './decoder-weights.js';
import type { OnnxLimits } from './external-data.js';
import { GraphBuilder, type Value } from './graph-builder.js';
import { writeOnnx } from './write-onnx.js';

const MODEL_FILE = 'model.onnx';

/**
 * Writes `<modelDir>/onnx/model.onnx`, float32, one file if it fits (transformers.js loads that name, and no second one, unless told otherwise), with the names
 * of Hugging Face exports. Inputs: `input_ids` and `position_ids` int64 [B, S], `attention_mask` int64 [B, T], `past_key_values.{i}.key|value` [B, Hkv, P, K].
 * Outputs: `logits` [B, S, V], `present.{i}.key|value` [B, Hkv, T, K]. T = P + S; P may be 0; padding may stand left or right. What one file does not hold, from some
 * 0.5 billion parameters on, lies beside it in `model.onnx_data` and so on, of which `config.json` then tells transformers.js.
 * @returns the path of the file.
 */
export async function writeInterchangeModel(modelDir: string, limits?: OnnxLimits): Promise<string> {
  const model = await ModelDirectory.open(modelDir);
  try {
    const path = join(modelDir, 'onnx', MODEL_FILE);
    await mkdir(dirname(path), { recursive: true });
    const dataFiles = await writeOnnx(path, interchangeGraph({ config: model.config, weights: new DecoderWeights(model) }).build(), limits);
    await declareDataFiles(join(modelDir, 'config.json'), dataFiles);
    return path;
  } finally {
    await model.close();
  }
}

/** `transformers.js_config.use_external_data_format` counts the data files of a model by its name; one of which it says nothing has none. */
async function declareDataFiles(configPath: string, dataFiles: number): Promise<void> {
  const config = await readJsonObject(configPath);
  const settings = objectAt(config, 'transformers.js_config');
  const { [MODEL_FILE]: declared = 0, ...others } = objectAt(settings, 'use_external_data_format');
  if (declared === dataFiles) return;
  const counts = { ...others, ...(dataFiles > 0 && { [MODEL_FILE]: dataFiles }) };
  await writeJson(configPath, { ...config, 'transformers.js_config': { ...settings, use_external_data_format: counts } });
}

function objectAt(json: Record<string, unknown>, key: string): Record<string, unknown> {
  const value = json[key];
  return isObject(value) ? value : {};
}

// The names of sizes are part of the form: transformers.js makes the first, empty cache by looking up `batch_size` and taking every other name for 0.
function interchangeGraph(decoder: Decoder): GraphBuilder {
  const { layers, kvHeads, headDim, hiddenSize, vocabSize } = decoder.config;
  const graph = new GraphBuilder('limbeck_interchange');
  const inputIds_BS = graph.input('input_ids', 'int64', ['batch_size', 'sequence_length']);
  const attentionMask = graph.input('attention_mask', 'int64', ['batch_size', 'total_sequence_length']);
  const positionIds_BS = graph.input('position_ids', 'int64', ['batch_size', 'sequence_length']);
  const past = cacheNames('past_key_values', layers);
  const present = cacheNames('present', layers);
  for (const name of flatNames(past)) graph.input(name, 'float32', ['batch_size', kvHeads, 'past_sequence_length', headDim]);
  const mask_B1ST = addCausalMask(graph, { inputIds_BS, attentionMask_BT: attentionMask, pastKey: past[0].key });
  const hidden_BSD = addDecoder(graph, decoder, { inputs: { inputIds_BS, positionIds_BS, mask_B1ST, past }, cache: { kind: 'present', layers: present } });
  const logits_NV = addHead(graph, decoder, graph.node('Reshape', [hidden_BSD, graph.ints(-1, hiddenSize)]));
  const shape = graph.node('Concat', [graph.node('Shape', [inputIds_BS]), graph.ints(vocabSize)], { attributes: { axis: { int: 0 } } });
  graph.node('Reshape', [logits_NV, shape], { as: 'logits' });
  graph.output('logits', 'float32', ['batch_size', 'sequence_length', vocabSize]);
  for (const name of flatNames(present)) graph.output(name, 'float32', ['batch_size', kvHeads, 'total_sequence_length', headDim]);
  return graph;
}

/** Position s of the new ones stands at P + s and sees itself and every unpadded position before it, bool [B, 1, S, T]. A padded row thus sees something, and never gives NaN. */
function addCausalMask(graph: GraphBuilder, from: { readonly inputIds_BS: Value; readonly attentionMask_BT: Value; readonly pastKey: Value }): Value {
  const past = graph.node('Gather', [graph.node('Shape', [from.pastKey]), graph.int(2)], { as: 'past_length' });
  const sequence = graph.node('Gather', [graph.node('Shape', [from.inputIds_BS]), graph.int(1)], { as: 'sequence_length' });
  const total = graph.node('Add', [past, sequence], { as: 'total_length' });
  const query = graph.node('Range', [past, total, graph.int(1)]);
  const query_S1 = graph.node('Unsqueeze', [query, graph.ints(1)], { as: 'query_S1' });
  const key_T = graph.node('Range', [graph.int(0), total, graph.int(1)], { as: 'key_T' });
  const before_ST = graph.node('Less', [key_T, query_S1], { as: 'before_ST' });
  const self_ST = graph.node('Equal', [key_T, query_S1], { as: 'self_ST' });
  const real_BT = graph.node('Greater', [from.attentionMask_BT, graph.int(0)], { as: 'real_BT' });
  const real_B11T = graph.node('Unsqueeze', [real_BT, graph.ints(1, 2)], { as: 'real_B11T' });
  const earlier_B1ST = graph.node('And', [real_B11T, before_ST], { as: 'earlier_B1ST' });
  return graph.node('Or', [earlier_B1ST, self_ST], { as: 'mask_B1ST' });
}

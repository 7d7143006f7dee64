import { join } from 'node:path';
import { ModelDirectory } from '../model-directory.js';
import { cacheNames, flatNames } from './cache-names.js';
import { addDecoder, addHead, type Decoder } from './decoder-graph.js';
import { DecoderWeights } from './decoder-weights.js';
import { GraphBuilder } from './graph-builder.js';
import { addTeacherHead } from './teacher-head.js';
import { writeOnnx } from './write-onnx.js';

/**
 * Writes `<modelDir>/teacher.onnx`, the graph made for serving. Axes: B batch, S new positions, P past (may be 0), T = P + S, R rows asked for (>= 1), K head width.
 * Inputs: `input_ids` and `position_ids` int64 [B, S]; `attention_mask` bool [B, 1, S, T], at least one true a row; `past.{i}.key|value` float32 [B, Hkv, P, K];
 * `rows` int64 [R], indices b * S + s of the positions whose distribution is wanted; `labels` int64 [R], an id whose logit is wanted; `k` int64 [1], 1 to V;
 * `temperature` float32 [R] > 0 and `uniform` float32 [R] in [0, 1) for a draw from each row.
 * Outputs: `top_ids` int64 and `top_logits` float32 [R, k], best first; `label_logits`, `log_sum_exp` float32 [R]; `label_ranks` int64 [R], how many
 * ids have at least the label's logit, itself included; `sampled_ids` int64 and `sampled_logits` float32 [R],
 * drawn over the whole vocabulary, the logit before the temperature; `new.{i}.key|value` float32 [B, Hkv, S, K], only the new positions.
 * The log-prob of any logit given back is that logit minus `log_sum_exp`. Sequences are padded on the right, S and P apart. Then a row's answers do not
 * depend on its batch, bit for bit, where P is a multiple of 16: sums over positions run in vectors, so a new position must keep its place in them.
 * An asked row takes about 20 V bytes while a run lasts; runs of at most 128 rows reuse memory that is already there, and go several times faster.
 * What one file does not hold lies beside it in `teacher.onnx_data` and so on.
 * @returns the path of the file.
 */
export async function writeTeacherModel(modelDir: string): Promise<string> {
  const model = await ModelDirectory.open(modelDir);
  try {
    const path = join(modelDir, 'teacher.onnx');
    await writeOnnx(path, teacherGraph({ config: model.config, weights: new DecoderWeights(model) }).build());
    return path;
  } finally {
    await model.close();
  }
}

function teacherGraph(decoder: Decoder): GraphBuilder {
  const { layers, kvHeads, headDim, hiddenSize, vocabSize } = decoder.config;
  const graph = new GraphBuilder('limbeck_teacher');
  const inputs = {
    inputIds_BS: graph.input('input_ids', 'int64', ['batch', 'sequence']),
    positionIds_BS: graph.input('position_ids', 'int64', ['batch', 'sequence']),
    mask_B1ST: graph.input('attention_mask', 'bool', ['batch', 1, 'sequence', 'total_sequence']),
    past: cacheNames('past', layers),
  };
  const asked = {
    rows_R: graph.input('rows', 'int64', ['rows']),
    labels_R: graph.input('labels', 'int64', ['rows']),
    k_1: graph.input('k', 'int64', [1]),
    temperature_R: graph.input('temperature', 'float32', ['rows']),
    uniform_R: graph.input('uniform', 'float32', ['rows']),
  };
  for (const name of flatNames(inputs.past)) graph.input(name, 'float32', ['batch', kvHeads, 'past_sequence', headDim]);
  const added = cacheNames('new', layers);
  const hidden_BSD = addDecoder(graph, decoder, { inputs, cache: { kind: 'new', layers: added } });
  const hidden_ND = graph.node('Reshape', [hidden_BSD, graph.ints(-1, hiddenSize)], { as: 'hidden_ND' });
  const logits_RV = addHead(graph, decoder, graph.node('Gather', [hidden_ND, asked.rows_R], { as: 'hidden_RD' }));
  addTeacherHead(graph, { logits_RV, vocabSize, ...asked });
  for (const name of flatNames(added)) graph.output(name, 'float32', ['batch', kvHeads, 'sequence', headDim]);
  return graph;
}

import { loadKernels, type Tensor } from '../../../kernels/binding/kernels.js';
import { Arena, ELEMENT_BYTES } from '../../engine/native/arena.js';
import { decode } from '../../engine/native/decoder.js';
import { Operations, type Activation } from '../../engine/native/operations.js';
import { PackedWeights } from '../../engine/native/packed-weights.js';
import { ParameterSet } from '../../engine/native/parameters.js';
import type { PassCore } from '../../engine/native/rehearsal.js';
import { readWeights } from '../../engine/native/weights.js';
import type { ModelConfig } from '../../model-files/config.js';
import { ModelDirectory } from '../../model-files/model-directory.js';
import type { NativeOptions } from '../runtime-options.js';
import type { RunRules, TeacherRows, TeacherRun, TeacherSession } from '../runtime.js';
import { RuntimeFailed } from '../teacher-server.errors.js';
import { LaneCaches } from './lane-caches.js';
import { PrefixCache } from './prefix-cache.js';
import { RunAttention } from './run-attention.js';
import { layRun, type RunLayout } from './run-layout.js';

/** Positions of one chunk and of one run: enough for the products' full speed, and whoever decodes beside it waits no longer than they take. */
const RUN_POSITIONS = 2048;
/** Of the memory that is free once the weights are loaded, what lanes may take; classes of caches are at most half empty. */
const LANE_SHARE = 0.5 / 2;
/** And what the beginnings of prompts may take, where an answer has the same bits whether its prompt's beginning was kept or not. */
const PREFIX_SHARE = 0.1;
/** The head's product is the teacher head's own. */
const PACKED = { withHead: false };

/**
 * A model directory on the native engine's operations: bf16 weights, activations, keys and values. Prompts lie end to end without padding, and rows of
 * one run share its products. `run` blocks the calling thread for as long as the model computes, and the operations belong to one thread of a process.
 */
export class NativeSession implements TeacherSession {
  private readonly caches: LaneCaches;
  private readonly prefixes: PrefixCache;

  private constructor(
    private readonly core: PassCore,
    private readonly packed: PackedWeights,
    readonly rules: RunRules,
    { maxLength, prefixBytes }: { readonly maxLength: number; readonly prefixBytes: number },
  ) {
    const { kernels, config } = core;
    const shape = { layers: config.layers, width: config.kvHeads * config.headDim };
    this.caches = new LaneCaches(kernels, { ...shape, maxLength });
    this.prefixes = new PrefixCache(kernels, { ...shape, mostBytes: prefixBytes });
  }

  /** @throws the refusals of the model directory; RuntimeFailed when one sequence of `maxLength` would not fit into memory. */
  static async open({ modelDir, threads, maxLength }: NativeOptions): Promise<NativeSession> {
    const kernels = loadKernels();
    kernels.setThreads(threads);
    const directory = await ModelDirectory.open(modelDir);
    const parameters = new ParameterSet(kernels, directory.config);
    try {
      await readWeights(directory, parameters);
      parameters.freeMasters();
      const { config } = directory;
      const lasting = new Arena(kernels);
      lasting.reset({ f32: 0, i32: 0, bf16: PackedWeights.elements({ kernels, parameters }, PACKED) });
      const packed = new PackedWeights({ kernels, lasting, parameters }, PACKED);
      const freeBytes = process.availableMemory();
      const rules = nativeRules(config, freeBytes);
      if (maxLength > rules.heldPositions) throw new RuntimeFailed(`there is memory for ${rules.heldPositions} positions; set maxModelLen, now ${maxLength}, to that or less`);
      return new NativeSession({ kernels, arena: new Arena(kernels), lasting, parameters, config }, packed, rules, { maxLength, prefixBytes: freeBytes * PREFIX_SHARE });
    } catch (error) {
      parameters.free();
      throw error;
    } finally {
      await directory.close();
    }
  }

  async run(run: TeacherRun): Promise<TeacherRows> {
    const layout = layRun(run, this.caches, this.prefixes);
    const hidden_ND = await this.hiddenStates(layout);
    for (const { ids_S, positions, place } of layout.prefixes) this.prefixes.keep(ids_S, positions, place);
    for (const { lane, after } of run.parts) if (after === 'forget') this.forget(lane);
    return this.head(run, { hidden_ND, layout });
  }

  forget(lane: number): void {
    this.caches.forget(lane);
  }

  close(): Promise<void> {
    this.caches.free();
    this.prefixes.free();
    this.core.lasting.free();
    this.core.arena.free();
    this.core.parameters.free();
    return Promise.resolve();
  }

  private hiddenStates(layout: RunLayout): Promise<Activation> {
    const { kernels, arena } = this.core;
    const rows = layout.tokens_N.length;
    arena.reset();
    const ops = new Operations(kernels, arena, { packed: this.packed });
    const positions_N = ops.input(layout.positions_N);
    const attention = new RunAttention(this.core, ops, layout);
    return decode(ops, this.core, { rows, tokens_N: ops.input(layout.tokens_N), positions_N, mix: (_ops, layer, qkv) => attention.mix(layer, qkv) });
  }

  private head({ parts, k }: TeacherRun, { hidden_ND, layout }: { hidden_ND: Activation; layout: RunLayout }): TeacherRows {
    const { kernels, arena, parameters, config } = this.core;
    const ops = new Operations(kernels, arena);
    const R = layout.rows_R.length;
    const hidden_RD = ops.gather(hidden_ND, ops.input(layout.rows_R), { rows: layout.tokens_N.length, picked: R, width: config.hiddenSize });
    const asks = parts.flatMap(({ rows }) => rows);
    const floats = (values: Float32Array): Tensor => {
      const tensor = arena.take('f32', [values.length]);
      kernels.write(tensor, values);
      return tensor;
    };
    const [topIds, labelRanks, drawnIds] = [arena.take('i32', [R, k]), arena.take('i32', [R]), arena.take('i32', [R])];
    const [topLogits, labelLogits, logSumExp, drawnLogits] = [arena.take('f32', [R, k]), arena.take('f32', [R]), arena.take('f32', [R]), arena.take('f32', [R])];
    kernels.teacherHead(
      hidden_RD.value, parameters.head.weight, ops.input(Int32Array.from(asks, ({ label }) => label)),
      floats(Float32Array.from(asks, ({ draw }) => draw?.temperature ?? 0)), floats(Float32Array.from(asks, ({ draw }) => draw?.uniform ?? 0)),
      topIds, topLogits, labelLogits, labelRanks, logSumExp, drawnIds, drawnLogits,
    );
    const read = <T extends Float32Array | Int32Array>(tensor: Tensor, values: T): T => {
      kernels.read(tensor, values);
      return values;
    };
    return {
      topIds_RK: read(topIds, new Int32Array(R * k)),
      topLogits_RK: read(topLogits, new Float32Array(R * k)),
      labelLogits_R: read(labelLogits, new Float32Array(R)),
      labelRanks_R: read(labelRanks, new Int32Array(R)),
      logSumExp_R: read(logSumExp, new Float32Array(R)),
      sampledIds_R: read(drawnIds, new Int32Array(R)),
      sampledLogits_R: read(drawnLogits, new Float32Array(R)),
    };
  }
}

/** What runs the session takes, for a machine with so many free bytes. */
function nativeRules({ layers, kvHeads, headDim }: ModelConfig, freeBytes: number): RunRules {
  const positionBytes = 2 * layers * kvHeads * headDim * ELEMENT_BYTES.bf16;
  return { chunk: RUN_POSITIONS, positions: RUN_POSITIONS, rows: RUN_POSITIONS, heldPositions: Math.floor((freeBytes * LANE_SHARE) / positionBytes) };
}

import { NO_TENSOR, type Kernels, type Tensor } from '../../../kernels/binding/kernels.js';
import { hasQkNorm, hasQkvBias, type ModelConfig } from '../../model-files/config.js';
import { rotationFrequencies } from '../../model-files/rotary.js';
import { ELEMENT_BYTES } from './arena.js';

/** Rows of a stored tensor that are one tensor of the Hugging Face layout. */
export interface ParameterPart {
  readonly name: string;
  readonly shape: readonly number[];
}

/** A tensor the engine trains: one or several Hugging Face tensors stacked along their rows. */
export interface ParameterSpec {
  /** Linear weights [out, in] compute in bf16; norm weights and biases, which have one axis, in float32. */
  readonly shape: readonly number[];
  readonly parts: readonly ParameterPart[];
}

/** A trained tensor with its state. All but `weight` are float32 and of one shape; `grad`, `m` and `v` are `NO_TENSOR` until training begins. */
export interface Parameter extends ParameterSpec {
  readonly weight: Tensor;
  master: Tensor;
  grad: Tensor;
  m: Tensor;
  v: Tensor;
}

/** The float32 tensors of a parameter that training carries from step to step. */
export type StateName = 'master' | 'm' | 'v' | 'grad';

/** The rows of a state that are one Hugging Face tensor. */
export interface StateWindow {
  readonly part: ParameterPart;
  /** Writes values from element `at` on. */
  readonly fill: (values: Float32Array, at: number) => void;
  readonly copy: () => Float32Array;
}

export interface LayerParameters {
  readonly attentionNorm: Parameter;
  /** q, k and v stacked: [C, D]. */
  readonly qkv: Parameter;
  /** The biases of q, k and v stacked: [C]. */
  readonly qkvBias?: Parameter;
  /** Of each q and each k head: [K]. */
  readonly qNorm?: Parameter;
  readonly kNorm?: Parameter;
  readonly out: Parameter;
  readonly feedForwardNorm: Parameter;
  /** gate and up stacked: [2F, D]. */
  readonly gateUp: Parameter;
  readonly down: Parameter;
}

/** Every weight of a decoder. `head` is `embedding` itself when the two are tied. */
export interface DecoderParameters {
  readonly embedding: Parameter;
  readonly layers: readonly LayerParameters[];
  readonly norm: Parameter;
  readonly head: Parameter;
  /** float32 [K/2], radians a position. */
  readonly invFreq: Tensor;
}

type Specs<T> = { readonly [Name in keyof T]: ParameterSpec };

/** Where a layer's tensors come from, in the order of the forward pass. */
export function layerSpecs(config: ModelConfig, layer: number): Specs<LayerParameters> {
  const { hiddenSize: D, intermediateSize: F, heads, kvHeads, headDim: K } = config;
  const part = (name: string, ...shape: number[]): ParameterPart => ({ name: `model.layers.${layer}.${name}.weight`, shape });
  const bias = (name: string, width: number): ParameterPart => ({ name: `model.layers.${layer}.${name}.bias`, shape: [width] });
  return {
    attentionNorm: stacked(part('input_layernorm', D)),
    qkv: stacked(part('self_attn.q_proj', heads * K, D), part('self_attn.k_proj', kvHeads * K, D), part('self_attn.v_proj', kvHeads * K, D)),
    ...(hasQkvBias(config) && { qkvBias: stacked(bias('self_attn.q_proj', heads * K), bias('self_attn.k_proj', kvHeads * K), bias('self_attn.v_proj', kvHeads * K)) }),
    ...(hasQkNorm(config) && { qNorm: stacked(part('self_attn.q_norm', K)), kNorm: stacked(part('self_attn.k_norm', K)) }),
    out: stacked(part('self_attn.o_proj', D, heads * K)),
    feedForwardNorm: stacked(part('post_attention_layernorm', D)),
    gateUp: stacked(part('mlp.gate_proj', F, D), part('mlp.up_proj', F, D)),
    down: stacked(part('mlp.down_proj', D, F)),
  };
}

function stacked(...parts: ParameterPart[]): ParameterSpec {
  const rows = parts.reduce((sum, part) => sum + part.shape[0], 0);
  return { shape: [rows, ...parts[0].shape.slice(1)], parts };
}

/** The model's tensors in native memory, in one fixed order. */
export class ParameterSet implements DecoderParameters {
  readonly embedding: Parameter;
  readonly layers: readonly LayerParameters[];
  readonly norm: Parameter;
  readonly head: Parameter;
  readonly invFreq: Tensor;
  /** Each parameter once, in the order that fixes sums over all of them. */
  readonly all: readonly Parameter[];
  private trains = false;

  constructor(
    private readonly kernels: Kernels,
    readonly config: ModelConfig,
  ) {
    const { vocabSize: V, hiddenSize: D } = config;
    const all: Parameter[] = [];
    const make = (spec: ParameterSpec): Parameter => {
      const parameter = this.allocate(spec);
      all.push(parameter);
      return parameter;
    };
    this.embedding = make(stacked({ name: 'model.embed_tokens.weight', shape: [V, D] }));
    this.layers = Array.from({ length: config.layers }, (_, layer) => {
      const specs = layerSpecs(config, layer);
      return {
        attentionNorm: make(specs.attentionNorm),
        qkv: make(specs.qkv),
        qkvBias: specs.qkvBias && make(specs.qkvBias),
        qNorm: specs.qNorm && make(specs.qNorm),
        kNorm: specs.kNorm && make(specs.kNorm),
        out: make(specs.out),
        feedForwardNorm: make(specs.feedForwardNorm),
        gateUp: make(specs.gateUp),
        down: make(specs.down),
      };
    });
    this.norm = make(stacked({ name: 'model.norm.weight', shape: [D] }));
    this.head = config.tiedEmbeddings ? this.embedding : make(stacked({ name: 'lm_head.weight', shape: [V, D] }));
    this.all = all;
    this.invFreq = this.frequencies();
  }

  /** Trained numbers; a tied head counts once. */
  get count(): number {
    return this.all.reduce((sum, { shape }) => sum + elements(shape), 0);
  }

  /** Bytes that `startTraining` will take; 0 once it has. */
  get trainingBytes(): number {
    return this.trains ? 0 : this.count * 3 * ELEMENT_BYTES.f32;
  }

  /** Allocates gradients and moments, all 0. Later calls do nothing. */
  startTraining(): void {
    if (this.trains) return;
    for (const parameter of this.all) {
      for (const state of ['grad', 'm', 'v'] as const) parameter[state] = this.kernels.alloc('f32', parameter.shape);
    }
    this.trains = true;
  }

  dropGradients(): void {
    if (this.trains) for (const { grad } of this.all) this.kernels.zero(grad);
  }

  /** Gives the master weights up, for a model that only computes: from now on it can neither train nor be written. */
  freeMasters(): void {
    for (const parameter of this.all) {
      this.kernels.free(parameter.master);
      parameter.master = NO_TENSOR;
    }
  }

  /** Rounds every master weight into the weight that computes. */
  roundWeights(): void {
    for (const { master, weight } of this.all) this.kernels.convert(master, weight);
  }

  /** Each Hugging Face tensor of one float32 state, in order. The state must be there: `startTraining` makes all but the masters. */
  windows(state: StateName): StateWindow[] {
    return this.all.flatMap((parameter) => {
      let end = 0;
      return parameter.parts.map((part) => {
        const offset = end;
        end += elements(part.shape);
        const within = (use: (tensor: Tensor) => void): void => this.within(parameter[state], { offset, shape: part.shape }, use);
        return {
          part,
          fill: (values: Float32Array, at: number) => this.within(parameter[state], { offset: offset + at, shape: [values.length] }, (tensor) => this.kernels.write(tensor, values)),
          copy: () => {
            const values = new Float32Array(elements(part.shape));
            within((tensor) => this.kernels.read(tensor, values));
            return values;
          },
        };
      });
    });
  }

  free(): void {
    for (const { weight, master, grad, m, v } of this.all) {
      for (const tensor of [weight, master, grad, m, v]) if (tensor !== NO_TENSOR) this.kernels.free(tensor);
    }
    this.kernels.free(this.invFreq);
  }

  private within(base: Tensor, { offset, shape }: { offset: number; shape: readonly number[] }, use: (tensor: Tensor) => void): void {
    const tensor = this.kernels.view(base, offset, shape);
    try {
      use(tensor);
    } finally {
      this.kernels.free(tensor);
    }
  }

  private allocate(spec: ParameterSpec): Parameter {
    const weight = this.kernels.alloc(spec.shape.length === 1 ? 'f32' : 'bf16', spec.shape);
    const master = this.kernels.alloc('f32', spec.shape);
    return { ...spec, weight, master, grad: NO_TENSOR, m: NO_TENSOR, v: NO_TENSOR };
  }

  private frequencies(): Tensor {
    const frequencies = Float32Array.from(rotationFrequencies(this.config));
    const tensor = this.kernels.alloc('f32', [frequencies.length]);
    this.kernels.write(tensor, frequencies);
    return tensor;
  }
}

/** Elements of a tensor of this shape. */
export function elements(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

import type { Tensor } from '../../../kernels/binding/kernels.js';
import type { DecoderParameters, Parameter } from './parameters.js';
import type { PassCore } from './rehearsal.js';

/** Which weights. */
export interface PackedScope {
  /** Whether `Operations.linear` multiplies by the head, too. */
  readonly withHead: boolean;
}

/**
 * The weights of a decoder's products once more, in the order in which products of few rows read them: bf16, two bytes a parameter. Made where many such products
 * follow with the same weights; results keep their bits. Empty on CPUs that have no use for it.
 */
export class PackedWeights {
  private readonly tensors = new Map<Parameter, Tensor>();

  /** Packs them into the lasting arena: valid until that is reset. */
  constructor({ kernels, lasting, parameters }: Pick<PassCore, 'kernels' | 'lasting' | 'parameters'>, scope: PackedScope) {
    for (const parameter of weightsOf(parameters, scope)) {
      const elements = kernels.packedElements(parameter.shape[0], parameter.shape[1]);
      if (elements === 0) continue;
      const packed = lasting.take('bf16', [elements]);
      this.tensors.set(parameter, packed);
      kernels.packWeight(parameter.weight, packed);
    }
  }

  /** How many elements they take. */
  static elements({ kernels, parameters }: Pick<PassCore, 'kernels' | 'parameters'>, scope: PackedScope): number {
    return weightsOf(parameters, scope).reduce((sum, { shape: [outWidth, inWidth] }) => sum + kernels.packedElements(outWidth, inWidth), 0);
  }

  of(weight: Parameter): Tensor | undefined {
    return this.tensors.get(weight);
  }
}

function weightsOf({ layers, head }: DecoderParameters, { withHead }: PackedScope): Parameter[] {
  const weights = layers.flatMap(({ qkv, out, gateUp, down }) => [qkv, out, gateUp, down]);
  return withHead ? [...weights, head] : weights;
}

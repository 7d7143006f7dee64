import type { Kernels, Tensor } from '../../../kernels/binding/kernels.js';
import type { DecoderParameters, Parameter } from './parameters.js';

/**
 * The weights of a decoder's products once more, in the order in which products of few rows read them: bf16, two bytes a parameter. Made where many such products
 * follow with the same weights; results keep their bits. Empty on CPUs that have no use for it.
 */
export class PackedWeights {
  private readonly tensors = new Map<Parameter, Tensor>();

  /** @param withHead whether the head is multiplied by `linear`, too. */
  constructor(
    private readonly kernels: Kernels,
    { layers, head }: DecoderParameters,
    { withHead }: { readonly withHead: boolean },
  ) {
    for (const { qkv, out, gateUp, down } of layers) for (const weight of [qkv, out, gateUp, down]) this.pack(weight);
    if (withHead) this.pack(head);
  }

  of(weight: Parameter): Tensor | undefined {
    return this.tensors.get(weight);
  }

  free(): void {
    for (const tensor of this.tensors.values()) this.kernels.free(tensor);
    this.tensors.clear();
  }

  private pack(parameter: Parameter): void {
    const [outWidth, inWidth] = parameter.shape;
    const elements = this.kernels.packedElements(outWidth, inWidth);
    if (elements === 0) return;
    const packed = this.kernels.alloc('bf16', [elements]);
    this.tensors.set(parameter, packed);
    this.kernels.packWeight(parameter.weight, packed);
  }
}

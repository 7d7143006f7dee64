import type { Kernels, Tensor } from '../../../kernels/binding/kernels.js';
import { GradientNotFinite, type OptimStep } from '../engine.js';
import type { ParameterSet } from './parameters.js';

// The kernel takes finite numbers; a clip this large never clips.
const LARGEST_FLOAT32 = (2 - 2 ** -23) * 2 ** 127;

/** AdamW over every parameter, norm weights included; decay is decoupled and uniform (Loshchilov & Hutter 2019). */
export class AdamW {
  private readonly normClip_2: Tensor;

  constructor(
    private readonly kernels: Kernels,
    private readonly parameters: ParameterSet,
  ) {
    this.normClip_2 = kernels.alloc('f32', [2]);
  }

  /**
   * Clips, updates and zeroes the gradients. @param step number of this update, from 1. @returns the gradient's L2 norm before clipping.
   * @throws GradientNotFinite before any weight changes.
   */
  apply({ learningRate, beta1, beta2, eps, weightDecay, clip }: OptimStep, step: number): number {
    const { all } = this.parameters;
    this.parameters.startTraining();
    this.kernels.gradNorm(all.map(({ grad }) => grad), Math.min(clip, LARGEST_FLOAT32), this.normClip_2);
    const normClip = new Float32Array(2);
    this.kernels.read(this.normClip_2, normClip);
    if (!Number.isFinite(normClip[0])) {
      this.parameters.dropGradients();
      throw new GradientNotFinite(`the gradient of step ${step} has norm ${normClip[0]}; the step was not taken. Lower the learning rate, or look for damaged targets`);
    }
    for (const { master, m, v, grad, weight } of all) {
      this.kernels.adamw(master, m, v, grad, weight, this.normClip_2, learningRate, beta1, beta2, eps, weightDecay, step);
    }
    return normClip[0];
  }

  free(): void {
    this.kernels.free(this.normClip_2);
  }
}

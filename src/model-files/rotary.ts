import type { ModelConfig } from './config.js';

/** What decides how fast the pairs of a head turn. */
export type RotaryShape = Pick<ModelConfig, 'headDim' | 'ropeTheta' | 'ropeScaling'>;

/**
 * Radians a position by which pair i of a head turns: theta^(-2i/K), K/2 of them (Su et al. 2021). With Llama 3's scaling, wave lengths beyond
 * originalMaxPositions / lowFreqFactor grow by `factor`, those below originalMaxPositions / highFreqFactor stay, and between the two the frequency is interpolated
 * linearly in originalMaxPositions / wave length (`rope_type` "llama3" of transformers).
 */
export function rotationFrequencies({ headDim, ropeTheta, ropeScaling }: RotaryShape): Float64Array {
  return Float64Array.from({ length: headDim / 2 }, (_, i) => {
    const frequency = ropeTheta ** ((-2 * i) / headDim);
    if (!ropeScaling) return frequency;
    const { factor, lowFreqFactor, highFreqFactor, originalMaxPositions } = ropeScaling;
    const turns = (originalMaxPositions * frequency) / (2 * Math.PI); // within the first training's length
    const kept = Math.min(1, Math.max(0, (turns - lowFreqFactor) / (highFreqFactor - lowFreqFactor)));
    return kept * frequency + ((1 - kept) * frequency) / factor;
  });
}

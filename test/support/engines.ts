import type { Engine } from '../../src/engine/engine.js';
import { HostedEngine } from '../../src/engine/host/hosted-engine.js';
import { NativeEngine } from '../../src/engine/native/native-engine.js';
import { ReferenceEngine } from '../../src/engine/reference/reference-engine.js';
import { compiled } from './compiled.js';

/** Numbers under their Hugging Face names. */
export type NamedNumbers = ReadonlyMap<string, ArrayLike<number>>;

/** An engine under test. One in a process of its own shows neither gradients nor weights. */
export type TestedEngine = Engine & { readGradients?(): Promise<NamedNumbers>; readWeights?(): Promise<NamedNumbers> };

/** An implementation of the seam and how to open it on a Hugging Face directory. */
export interface EngineKind {
  readonly name: 'reference' | 'native' | 'hosted native';
  readonly open: (modelDir: string) => Promise<TestedEngine>;
}

const THREADS = 2;

export const REFERENCE: EngineKind = { name: 'reference', open: (modelDir) => ReferenceEngine.open(modelDir) };

export const NATIVE: EngineKind = { name: 'native', open: (modelDir) => NativeEngine.open({ modelDir, threads: THREADS }) };

let entry: Promise<string> | undefined;

/** In a process of its own, from sources compiled once. */
export const HOSTED_NATIVE: EngineKind = {
  name: 'hosted native',
  open: async (modelDir) => {
    entry ??= compiled('src/main.engine.ts');
    return HostedEngine.start({ entry: await entry, engine: { implementation: 'native', modelDir, threads: THREADS } });
  },
};

/** How far one gradient lies from another, over all tensors together. */
export interface GradientError {
  readonly cosine: number;
  /** L2 norm of the difference by that of `wanted`. */
  readonly relativeL2: number;
}

/** @throws Error unless both name the same tensors with the same sizes. */
export function compareGradients(found: NamedNumbers, wanted: NamedNumbers): GradientError {
  let dot = 0;
  let foundSquares = 0;
  let wantedSquares = 0;
  let distance = 0;
  if ([...found.keys()].sort().join() !== [...wanted.keys()].sort().join()) throw new Error('the gradients name different tensors');
  for (const [name, values] of wanted) {
    const others = found.get(name);
    if (others?.length !== values.length) throw new Error(`${name} has ${others?.length} values; ${values.length} were wanted`);
    for (let i = 0; i < values.length; i++) {
      dot += others[i] * values[i];
      foundSquares += others[i] ** 2;
      wantedSquares += values[i] ** 2;
      distance += (others[i] - values[i]) ** 2;
    }
  }
  return { cosine: dot / Math.sqrt(foundSquares * wantedSquares), relativeL2: Math.sqrt(distance / wantedSquares) };
}

import type { PackedBatch } from '../../tokens/batch.js';
import { openStudentEngine } from '../job.js';
import type { ProgressView } from '../progress.js';

const SEQUENCES = 8;
const LENGTH = 64;
/** A whole demo in units of the probe's training pass, from the run that README.md prints; training leads, and the teacher's share grows alike on a slower machine. */
const PASSES = { none: 400, all: 600 } as const;

/** Seconds that a demo takes on this machine, judged from one small training pass of its student; the pass is thrown away. */
export async function expectedSeconds(studentDir: string, controls: 'none' | 'all', view: ProgressView): Promise<number> {
  const engine = await openStudentEngine(studentDir, view);
  try {
    const batch = probeBatch();
    await engine.forwardBackward(batch, { kind: 'hard' }, 1); // the first pass also reserves memory
    const begin = performance.now();
    await engine.forwardBackward(batch, { kind: 'hard' }, 1);
    return ((performance.now() - begin) / 1000) * PASSES[controls];
  } finally {
    await engine.close();
  }
}

/** Equal sequences of small ids, half of their rows with loss, as in the demo's own batches. */
function probeBatch(): PackedBatch {
  const rows = Array.from({ length: SEQUENCES }, (_, sequence) => Array.from({ length: LENGTH / 2 }, (_, row) => sequence * LENGTH + LENGTH / 2 + row - 1)).flat();
  return {
    tokens_N: Int32Array.from({ length: SEQUENCES * LENGTH }, (_, n) => 1 + (n % 100)),
    cuSeqlens_S1: Int32Array.from({ length: SEQUENCES + 1 }, (_, s) => s * LENGTH),
    rows_R: Int32Array.from(rows),
    weights_R: new Float32Array(rows.length).fill(1),
    labels_R: Int32Array.from(rows, (row) => 1 + ((row + 1) % 100)),
  };
}

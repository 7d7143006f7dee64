import type { Padding, RunRules } from '../runtime.js';

/**
 * A layout is a function of a sequence alone, and only sequences of equal layout run together: then sums over positions group the same numbers in the same
 * order whoever runs beside it, and the bits of its answer are its own. New positions are padded to one vector of the arithmetic's widest instruction set.
 */
export const ONNX_PADDING: Padding = { past: 128, fresh: 16 };

/** Positions of a prompt read in one run: as wide as the columns of held positions, so that chunks give the same bits as one pass. */
const CHUNK = ONNX_PADDING.past;
/** Positions of one run; more would not make it faster, and whoever decodes beside it would wait longer. */
const RUN_POSITIONS = 512;
/** What the logits of one run may take. */
const RUN_LOGIT_BYTES = 128 * 2 ** 20;

/** What runs a `teacher.onnx` takes. */
export function onnxRules(vocabSize: number): RunRules {
  return {
    chunk: CHUNK,
    positions: RUN_POSITIONS,
    rows: Math.max(CHUNK, Math.floor(RUN_LOGIT_BYTES / (4 * vocabSize))),
    padding: ONNX_PADDING,
    heldPositions: Infinity,
  };
}

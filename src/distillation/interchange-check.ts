import type { Engine } from '../engine/engine.js';
import { AGREEMENT_SEQUENCES, AGREEMENT_TOKENS, judgeAgreement, type Agreement, type CandidatePosition } from '../model-files/onnx/agreement.js';
import type { runInterchange } from '../model-files/onnx/run-interchange.js';
import type { Sample } from '../tokens/sample.js';
import type { ScoreSequence } from '../tokens/target.js';
import { ExportDisagrees } from './distillation.errors.js';

/** Runs an interchange model over sequences, as `runInterchange` of model-files does. */
export type InterchangeRunner = (job: Parameters<typeof runInterchange>[0]) => ReturnType<typeof runInterchange>;

/** An exported model and the engine it came from. */
export interface InterchangeCheck {
  readonly engine: Engine;
  readonly run: InterchangeRunner;
  readonly modelPath: string;
  /** Text to compare on; the ends of the first few are taken. */
  readonly samples: readonly Sample[];
}

/**
 * Compares the exported model, run by onnxruntime in float32, with the engine it came from, both fed the same ids.
 * @throws ExportDisagrees with the numbers when the agreement rule (DESIGN section 3) is broken.
 */
export async function checkInterchange({ engine, run, modelPath, samples }: InterchangeCheck): Promise<Agreement> {
  const sequences = samples.slice(0, AGREEMENT_SEQUENCES).map(endOf);
  const { threads } = await engine.describe();
  const results = await run({ modelPath, threads, tasks: sequences.map((sequence) => ({ kind: 'score', ...sequence })) });
  const reference = results.flatMap(({ positions }) => positions);
  const agreement = judgeAgreement(reference, await candidatesOf(engine, sequences));
  if (!agreement.agrees) throw new ExportDisagrees(`${describeAgreement(agreement)}; the rule allows 0.02 on average, 0.2 at most, and no forbidden difference. Nothing was published`);
  return agreement;
}

/** The numbers of an agreement in one line. */
export function describeAgreement({ positions, meanAbs, maxAbs, greedyDifferences, forbiddenDifferences }: Agreement): string {
  const distance = `|dlogp| mean ${meanAbs.toExponential(1)}, max ${maxAbs.toExponential(1)}`;
  return `engine and ONNX model over ${positions} tokens: ${distance}, greedy ids differ at ${greedyDifferences}, forbidden at ${forbiddenDifferences}`;
}

function endOf({ prompt_T, completion_T }: Sample): ScoreSequence {
  const ids_T = Int32Array.of(...prompt_T, ...completion_T);
  return { ids_T, from: Math.max(1, ids_T.length - AGREEMENT_TOKENS) };
}

/** What the engine says at every position of given sequences, in order. */
export async function candidatesOf(engine: Engine, sequences: readonly ScoreSequence[]): Promise<CandidatePosition[]> {
  const positions: CandidatePosition[] = [];
  for await (const { offsets_R1, ids_S, actualLogProbs_R } of engine.score({ sequences, k: 1 })) {
    for (const [row, actualLogProb] of actualLogProbs_R.entries()) positions.push({ actualLogProb, greedyId: ids_S[offsets_R1[row]] });
  }
  return positions;
}

import type { Engine } from '../engine/engine.js';
import { AGREEMENT_SEQUENCES, AGREEMENT_TOKENS, judgeAgreement, type Agreement, type CandidatePosition } from '../model-files/onnx/agreement.js';
import type { runInterchange } from '../model-files/onnx/run-interchange.js';
import type { TokenIds } from '../tokens/sample.js';
import type { ScoreSequence } from '../tokens/target.js';
import { ExportDisagrees } from './distillation.errors.js';

/** Runs an interchange model over sequences, as `runInterchange` of model-files does. */
export type InterchangeRunner = (job: Parameters<typeof runInterchange>[0]) => ReturnType<typeof runInterchange>;

/** An exported model and the engine it came from. */
export interface InterchangeCheck {
  readonly engine: Engine;
  readonly run: InterchangeRunner;
  readonly modelPath: string;
  /** Prompts that the reference goes on from; the first few are taken. */
  readonly prompts: readonly TokenIds[];
  /** Ids that end an answer: what the models say behind one is not compared. */
  readonly stopIds: readonly number[];
}

/**
 * Compares the exported model, run by onnxruntime in float32, with the engine it came from: the reference continues each prompt with its own
 * most probable ids up to the end of its answer, and the engine is fed the same ids. Behind that end both are where neither was trained, and rounding decides.
 * @throws ExportDisagrees with the numbers when the agreement rule (DESIGN section 3) is broken.
 */
export async function checkInterchange({ engine, run, modelPath, prompts, stopIds }: InterchangeCheck): Promise<Agreement> {
  const { threads, maxPositions } = await engine.describe();
  const taken = prompts.slice(0, AGREEMENT_SEQUENCES);
  const longest = taken.reduce((most, { length }) => Math.max(most, length), 0);
  const tokens = Math.min(AGREEMENT_TOKENS, maxPositions - longest);
  const continued = await run({ modelPath, threads, tasks: taken.map((ids_T) => ({ kind: 'greedy', ids_T, tokens })) });
  const answers = continued.map(({ ids_T, positions }) => {
    const from = ids_T.length - tokens;
    const end = ids_T.findIndex((id, t) => t >= from && stopIds.includes(id));
    const length = end < 0 ? tokens : end + 1 - from;
    return { sequence: { ids_T: ids_T.subarray(0, from + length), from }, positions: positions.slice(0, length) };
  });
  const reference = answers.flatMap(({ positions }) => positions);
  const sequences = answers.map(({ sequence }) => sequence);
  const agreement = judgeAgreement(reference, await candidatesOf(engine, sequences));
  if (!agreement.agrees) throw new ExportDisagrees(`${describeAgreement(agreement)}; the rule allows 0.02 on average, 0.2 at most, and no forbidden difference. Nothing was published`);
  return agreement;
}

/** The numbers of an agreement in one line. */
export function describeAgreement({ positions, meanAbs, maxAbs, greedyDifferences, forbiddenDifferences }: Agreement): string {
  const distance = `|dlogp| mean ${meanAbs.toExponential(1)}, max ${maxAbs.toExponential(1)}`;
  return `engine and ONNX model over ${positions} tokens: ${distance}, greedy ids differ at ${greedyDifferences}, forbidden at ${forbiddenDifferences}`;
}

/** What the engine says at every position of given sequences, in order. */
export async function candidatesOf(engine: Engine, sequences: readonly ScoreSequence[]): Promise<CandidatePosition[]> {
  const positions: CandidatePosition[] = [];
  for await (const { offsets_R1, ids_S, actualLogProbs_R } of engine.score({ sequences, k: 1 })) {
    for (const [row, actualLogProb] of actualLogProbs_R.entries()) positions.push({ actualLogProb, greedyId: ids_S[offsets_R1[row]] });
  }
  return positions;
}

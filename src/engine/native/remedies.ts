import { largestThat } from '../../common/largest-that.js';
import type { SampleWork, SequenceWork, Work } from '../engine.js';

/** Why work cannot be done, and how other sizes are judged. */
export interface Shortage {
  readonly needed: number;
  readonly free: number;
  /** Bytes that other work would need beyond those held. */
  readonly needs: (work: Work) => Promise<number>;
  /** The model, and the bytes it keeps. */
  readonly student: { readonly parameters: number; readonly bytes: number };
}

/** One size of a work that could be smaller. */
interface Knob {
  readonly value: number;
  readonly turnedTo: (value: number) => Work;
  readonly says: (value: number) => string;
}

/** @returns what would make the work fit, each alone, with its own number of bytes. */
export async function remediesFor(work: Work, { needed, free, needs, student }: Shortage): Promise<string> {
  const remedies: string[] = [];
  const recomputed = work.kind === 'train' && work.recompute !== 'layers' ? await needs({ ...work, recompute: 'layers' }) : Infinity;
  if (recomputed <= free) remedies.push(`recompute layers (${mebibytes(recomputed)})`);
  for (const { value, turnedTo, says } of work.kind === 'sample' ? sampleKnobs(work) : sequenceKnobs(work)) {
    const most = await largestThat(value - 1, async (smaller) => (await needs(turnedTo(smaller))) <= free);
    if (most > 0) remedies.push(`${says(most)} (${mebibytes(await needs(turnedTo(most)))})`);
  }
  const parameters = Math.floor(student.parameters - ((needed - free) * student.parameters) / student.bytes);
  if (parameters > 0) remedies.push(`a student of at most ${parameters} parameters where this one has ${student.parameters} (${mebibytes((student.bytes * parameters) / student.parameters)} of its own)`);
  return remedies.length === 0 ? 'no smaller size of this work would fit; free some memory' : `any of these would fit: ${remedies.join('; ')}`;
}

/** Whole MiB, rounded up, with the unit. */
export function mebibytes(bytes: number): string {
  return `${Math.ceil(bytes / 2 ** 20)} MiB`;
}

function sequenceKnobs(work: SequenceWork): Knob[] {
  const { kind, sequences, tokens, rows, k } = work;
  const batch = kind === 'score' ? 'pass' : 'micro-batch';
  return [
    {
      value: tokens,
      turnedTo: (fewer) => ({ ...work, sequences: Math.max(1, Math.floor((sequences * fewer) / tokens)), tokens: fewer, rows: Math.max(1, Math.floor((rows * fewer) / tokens)) }),
      says: (most) => (most * sequences >= tokens && sequences > 1 ? `at most ${most} tokens a ${batch}` : `sequences of at most ${most} tokens, one a ${batch}`),
    },
    { value: k, turnedTo: (fewer) => ({ ...work, k: fewer }), says: (most) => `a k of at most ${most}` },
  ];
}

function sampleKnobs(work: SampleWork): Knob[] {
  const { prompts, promptTokens, maxTokens } = work;
  return [
    { value: prompts, turnedTo: (fewer) => ({ ...work, prompts: fewer }), says: (most) => `at most ${most} prompts at a time` },
    { value: maxTokens, turnedTo: (fewer) => ({ ...work, maxTokens: fewer }), says: (most) => `at most ${most} tokens a completion` },
    { value: promptTokens, turnedTo: (fewer) => ({ ...work, promptTokens: fewer }), says: (most) => `prompts of at most ${most} tokens` },
  ];
}

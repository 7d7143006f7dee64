import type { AnswerPair } from '../../distillation/events.js';

const SHOWN = 3;
const WIDTH = 100;

/** Three held-out prompts with the teacher's answer and the student's before and after training, as a terminal shows them. Both lists are in the prompts' order. */
export function answersSideBySide(before: readonly AnswerPair[], after: readonly AnswerPair[]): string {
  const shown = Array.from({ length: SHOWN }, (_, index) => Math.floor((index * after.length) / SHOWN));
  return shown
    .map((index) =>
      [
        `prompt   ${oneLine(question(after[index].prompt))}`,
        `teacher  ${oneLine(after[index].teacher ?? '')}`,
        `before   ${oneLine(before[index].student)}`,
        `after    ${oneLine(after[index].student)}`,
      ].join('\n'),
    )
    .join('\n\n');
}

/** The last user turn of a rendered chat prompt. */
function question(prompt: string): string {
  return /<\|im_start\|>user\n([^]*?)<\|im_end\|>(?![^]*<\|im_start\|>user)/.exec(prompt)?.[1] ?? prompt;
}

function oneLine(text: string): string {
  const flat = text.replaceAll('<|im_end|>', '').replace(/\s+/g, ' ').trim();
  return flat.length > WIDTH ? `${flat.slice(0, WIDTH - 1)}…` : flat;
}

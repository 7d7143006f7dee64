import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

const SHOWN = 3;
const WIDTH = 100;

/** One line of a run's `samples/<label>.jsonl`. */
interface Answer {
  readonly prompt: string;
  readonly teacher: string | null;
  readonly student: string;
}

/** Three held-out prompts with the teacher's answer and the student's before and after training, as a terminal shows them. */
export async function answersSideBySide(runDir: string): Promise<string> {
  const before = await readAnswers(join(runDir, 'samples', 'before.jsonl'));
  const after = await readAnswers(join(runDir, 'samples', 'after_align.jsonl'));
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

async function readAnswers(path: string): Promise<Answer[]> {
  const text = await readFile(path, 'utf8');
  return text.trimEnd().split('\n').map((line) => JSON.parse(line) as Answer);
}

/** The last user turn of a rendered chat prompt. */
function question(prompt: string): string {
  return /<\|im_start\|>user\n([^]*?)<\|im_end\|>(?![^]*<\|im_start\|>user)/.exec(prompt)?.[1] ?? prompt;
}

function oneLine(text: string): string {
  const flat = text.replaceAll('<|im_end|>', '').replace(/\s+/g, ' ').trim();
  return flat.length > WIDTH ? `${flat.slice(0, WIDTH - 1)}…` : flat;
}

import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { stringify as toYaml } from 'yaml';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { TeacherServer } from '../../src/teacher-server/start-teacher-server.js';
import { runLimbeck } from '../support/limbeck-process.js';
import { startTestTeacher } from '../support/teacher.js';
import { writeTinyModel } from '../support/tiny-model.js';

let dir: string;
let teacher: TeacherServer;

/** What a case changes in a job that is right. */
interface Change {
  readonly teacher?: object;
  readonly distillation?: object;
  readonly top?: object;
}

function job({ teacher: teacherChange, distillation, top }: Change): object {
  return {
    model: './student',
    training_file: './train.jsonl',
    validation_file: './train.jsonl',
    ...top,
    method: {
      type: 'distillation',
      distillation: {
        teacher: { dialect: 'vllm', base_url: teacher.url, model: 'tiny-teacher', ...teacherChange },
        targets: { top_k: 8 },
        collect: { max_tokens: 8 },
        align: { steps: 1, prompts_per_step: 2, max_tokens: 8 },
        evaluate: { prompts: 2, max_tokens: 8 },
        export: ['safetensors'],
        ...distillation,
      },
    },
  };
}

const LINE = '{"messages":[{"role":"user","content":"Say one."}]}\n';

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'limbeck-bad-'));
  const teacherDir = await writeTinyModel(join(dir, 'teacher'), { seed: 5 });
  await writeTinyModel(join(dir, 'student'), { seed: 6 });
  await damagedStudents();
  await writeFile(join(dir, 'train.jsonl'), LINE.repeat(3));
  await writeFile(join(dir, 'empty.jsonl'), '\n');
  await writeFile(join(dir, 'malformed.jsonl'), `${LINE}{"messages":\n`);
  await writeFile(join(dir, 'wrong-type.jsonl'), `${LINE}${LINE}{"messages":"Say one."}\n`);
  teacher = await startTestTeacher({ modelDir: teacherDir, modelName: 'tiny-teacher', maxLogprobs: 16 });
});

afterAll(async () => {
  await teacher.close();
  await rm(dir, { recursive: true, force: true });
});

/** A directory without weights, one whose weights are cut short, and one whose tokenizer says something else. */
async function damagedStudents(): Promise<void> {
  await rm(join(await writeTinyModel(join(dir, 'incomplete'), { seed: 6 }), 'model.safetensors'));
  const cut = join(await writeTinyModel(join(dir, 'cut'), { seed: 6 }), 'model.safetensors');
  await writeFile(cut, (await readFile(cut)).subarray(0, 5000));
  const other = join(await writeTinyModel(join(dir, 'other-tokenizer'), { seed: 6 }), 'tokenizer.json');
  const tokenizer = JSON.parse(await readFile(other, 'utf8')) as { model: { vocab: Record<string, number> } };
  const { vocab } = tokenizer.model;
  const [first, second] = Object.keys(vocab).filter((token) => /^[a-z]$/.test(token));
  [vocab[first], vocab[second]] = [vocab[second], vocab[first]];
  await writeFile(other, JSON.stringify(tokenizer));
}

/** What is wrong, the code, words that must be in the message, and the change that makes it so. */
const cases: readonly (readonly [what: string, code: string, words: readonly string[], change: () => Change])[] = [
  ['an unknown key', 'distillation.spec_invalid', ['method.distillation.aling', 'unknown key', 'align'], () => ({ distillation: { aling: {} } })],
  ['a wrong type', 'distillation.spec_invalid', ['method.distillation.align.steps'], () => ({ distillation: { align: { steps: 'many' } } })],
  ['a prompt file without prompts', 'distillation.prompts_empty', ['empty.jsonl'], () => ({ top: { training_file: './empty.jsonl' } })],
  ['a line that is no JSON', 'distillation.prompts_malformed', ['malformed.jsonl:2'], () => ({ top: { training_file: './malformed.jsonl' } })],
  ['a line of the wrong shape', 'distillation.prompt_invalid', ['wrong-type.jsonl:3', 'messages'], () => ({ top: { training_file: './wrong-type.jsonl' } })],
  ['a prompt file that is not there', 'cli.input_unreadable', ['nowhere.jsonl'], () => ({ top: { training_file: './nowhere.jsonl' } })],
  ['a teacher that is down', 'teacher.unavailable', ['127.0.0.1:9'], () => ({ teacher: { base_url: 'http://127.0.0.1:9' } })],
  ['another model', 'teacher.refused', ['gpt', 'tiny-teacher'], () => ({ teacher: { model: 'gpt' } })],
  ['a k the teacher does not grant', 'teacher.refused', ['17', '16'], () => ({ distillation: { targets: { top_k: 17 } } })],
  ['another tokenizer', 'distillation.preflight_failed', ['tokenizers'], () => ({ top: { model: './other-tokenizer' } })],
  ['a model directory without weights', 'model_files.file_missing', ['incomplete', 'model.safetensors'], () => ({ top: { model: './incomplete' } })],
  ['weights cut short', 'model_files.safetensors_invalid', ['cut'], () => ({ top: { model: './cut' } })],
];

async function refused(name: string, change: Change, out: string): Promise<{ readonly status: number | null; readonly stderr: string }> {
  const file = join(dir, `${name.replaceAll(' ', '-')}.yaml`);
  await writeFile(file, toYaml(job(change)));
  return runLimbeck(['distill', file, '--out', out]);
}

describe('limbeck distill refuses, before any work and leaving nothing behind,', () => {
  it.each(cases)('%s (%s)', async (what, code, words, change) => {
    const out = join(dir, 'out', what.replaceAll(' ', '-'));
    const { status, stderr } = await refused(what, change(), out);
    expect(stderr).toContain(`error ${code}: `);
    for (const word of words) expect(stderr).toContain(word);
    expect(status).toBeGreaterThan(0);
    expect(existsSync(out)).toBe(false);
  });

  it('a disk without room (distillation.preflight_failed)', async (context) => {
    const small = join(dir, 'small-disk');
    await mkdir(small);
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', small], { stdio: 'ignore' });
    } catch {
      console.warn('skipped: a disk that is nearly full is made with mount, which needs root');
      context.skip();
    }
    try {
      const { status, stderr } = await refused('a full disk', {}, join(small, 'out'));
      expect(stderr).toMatch(/error distillation.preflight_failed: .*disk/);
      expect(status).toBe(2);
      expect(existsSync(join(small, 'out'))).toBe(false);
    } finally {
      execFileSync('umount', [small]);
    }
  });

  it('an out directory that is taken (cli.out_directory_taken)', async () => {
    const taken = join(dir, 'taken');
    await mkdir(taken);
    await writeFile(join(taken, 'thesis.txt'), 'mine');
    const { status, stderr } = await refused('taken', {}, taken);
    expect(stderr).toContain('error cli.out_directory_taken: ');
    expect(stderr).toContain('--resume');
    expect(status).toBe(4);
    expect(await readFile(join(taken, 'thesis.txt'), 'utf8')).toBe('mine');
  });
});

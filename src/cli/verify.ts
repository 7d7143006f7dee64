import { basename, resolve } from 'node:path';
import { candidatesOf, describeAgreement } from '../distillation/interchange-check.js';
import { ChatTemplate } from '../model-files/chat-template.js';
import { readModelConfig } from '../model-files/config.js';
import { AGREEMENT_SEQUENCES, AGREEMENT_TOKENS, judgeAgreement, type Agreement, type ReferencePosition } from '../model-files/onnx/agreement.js';
import { Tokenizer } from '../model-files/tokenizer.js';
import type { TeacherClient } from '../teacher-clients/teacher-client.js';
import { VllmTeacherClient } from '../teacher-clients/vllm/vllm-teacher-client.js';
import type { ScoreSequence } from '../tokens/target.js';
import { demoPrompts } from './demo/prompts.js';
import { openStudentEngine } from './job.js';
import { humanProgress } from './progress.js';
import { startTeacherProcess } from './teacher-process.js';

/** Whether the engine (bf16) and the embedded teacher (float32) compute the same model: served over HTTP, 5 greedy answers of at most 32 tokens, both fed the teacher's ids. */
export async function verifyModel(modelDir: string): Promise<{ readonly agreement: Agreement; readonly text: string }> {
  const { vocabSize, eosIds } = await readModelConfig(modelDir);
  const server = await startTeacherProcess({ modelDir: resolve(modelDir), port: 0 });
  const teacher = new VllmTeacherClient({ baseUrl: server.url, model: basename(resolve(modelDir)), vocabSize });
  const engine = await openStudentEngine(modelDir, humanProgress());
  try {
    const sequences = await greedyAnswers(teacher, await renderPrompts(modelDir), eosIds);
    const agreement = judgeAgreement(await referenceOf(teacher, sequences), await candidatesOf(engine, sequences));
    return { agreement, text: describeAgreement(agreement) };
  } finally {
    await engine.close();
    await teacher.close();
    await server.stop();
  }
}

async function renderPrompts(modelDir: string): Promise<Int32Array[]> {
  const tokenizer = await Tokenizer.load(modelDir);
  const template = await ChatTemplate.load(modelDir);
  return demoPrompts().heldOut.slice(0, AGREEMENT_SEQUENCES).map(({ messages }) => tokenizer.encode(template.render(messages, { addGenerationPrompt: 'add' })));
}

/** The prompts with the teacher's most probable answers; the last 32 ids of each are compared. */
async function greedyAnswers(teacher: TeacherClient, prompts: readonly Int32Array[], stopIds: readonly number[]): Promise<ScoreSequence[]> {
  const sequences: ScoreSequence[] = [];
  const sampling = { temperature: 0, topP: 1, topK: 0, maxTokens: AGREEMENT_TOKENS, stopIds };
  for await (const { prompt_T, completion_T } of teacher.generate(prompts.map((ids_T) => ({ ids_T, seed: 0 })), sampling, 1)) {
    const ids_T = Int32Array.of(...prompt_T, ...completion_T);
    sequences.push({ ids_T, from: ids_T.length - AGREEMENT_TOKENS });
  }
  return sequences;
}

async function referenceOf(teacher: TeacherClient, sequences: readonly ScoreSequence[]): Promise<ReferencePosition[]> {
  const rows: ReferencePosition[][] = [];
  for await (const { index, offsets_R1, ids_S, logProbs_S, actualLogProbs_R } of teacher.score(sequences, 2)) {
    rows[index] = Array.from(actualLogProbs_R, (actualLogProb, row) => {
      const best = offsets_R1[row];
      return { actualLogProb, greedyId: ids_S[best], greedyGap: logProbs_S[best] - logProbs_S[best + 1] };
    });
  }
  return rows.flat();
}

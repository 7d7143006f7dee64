import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeRandomModel } from '../../src/cli/bench/shapes.js';
import type { MemoryForecast, SequenceWork, Work } from '../../src/engine/engine.js';
import { EngineProcess } from '../../src/engine/host/engine-process.js';
import type { EngineCall } from '../../src/engine/host/protocol.js';
import type { ModelConfig } from '../../src/model-files/config.js';
import { parameterCount } from '../../src/model-files/parameters.js';
import type { PackedBatch } from '../../src/tokens/batch.js';
import { compiled } from '../support/compiled.js';

/** 27 million parameters: large enough that a few MiB more or less of V8's heap do not decide. */
const STUDENT: ModelConfig = {
  architecture: 'llama', vocabSize: 16_000, hiddenSize: 512, intermediateSize: 1536, layers: 6, heads: 8, kvHeads: 4, headDim: 64, rmsNormEps: 1e-5, ropeTheta: 10000,
  ropeScaling: null, maxPositions: 4096, tiedEmbeddings: true, bosId: 1, eosIds: [2], padId: 2,
};
const WORKS: readonly Work[] = [
  { kind: 'train', sequences: 4, tokens: 1024, rows: 800, k: 64 },
  { kind: 'train', sequences: 1, tokens: 2048, rows: 2000, k: 8 },
  { kind: 'train', sequences: 8, tokens: 256, rows: 64, k: 64 },
  { kind: 'train', sequences: 4, tokens: 4096, rows: 800, k: 64, recompute: 'layers' },
  { kind: 'evaluate', sequences: 4, tokens: 2048, rows: 1600, k: 64 },
  { kind: 'score', sequences: 8, tokens: 4096, rows: 4000, k: 64 },
  { kind: 'sample', prompts: 32, promptTokens: 200, maxTokens: 8 },
  { kind: 'sample', prompts: 8, promptTokens: 2000, maxTokens: 4 },
  { kind: 'sample', prompts: 32, distinct: 2, promptTokens: 1000, maxTokens: 4 },
];

let entry: string;
let modelDir: string;

beforeAll(async () => {
  entry = await compiled('src/main.engine.ts');
  modelDir = await writeRandomModel(STUDENT, await mkdtemp(join(tmpdir(), 'limbeck-memory-')));
});
afterAll(() => rm(modelDir, { recursive: true, force: true }));

// An engine process is given its whole environment: an instruction set asked for here is none of what it inherits.
const { DNNL_MAX_CPU_ISA } = process.env;
const environment: Record<string, string> = DNNL_MAX_CPU_ISA === undefined ? {} : { DNNL_MAX_CPU_ISA };

/** An engine process without an engine yet. */
async function bareProcess(): Promise<EngineProcess> {
  const remote = new EngineProcess({ entry, args: [], threads: 2, environment, closeMs: 5_000, silenceMs: 600_000, onWarning: () => {} });
  await expect(remote.call({ method: 'describe' })).rejects.toThrow(/before an engine was opened/); // it is up
  return remote;
}

/** The most memory that a process has held, bytes. */
async function mostHeld({ pid }: EngineProcess): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
}

/** Calls that do a work once. */
function callsOf(work: Work): EngineCall[] {
  if (work.kind === 'sample') {
    const { prompts: count, distinct = count } = work;
    const prompts = Array.from({ length: count }, (_, sample) => ({ ids_T: new Int32Array(work.promptTokens).fill(5 + (sample % distinct)), sample }));
    return [{ method: 'sample', request: { prompts, sampling: { temperature: 1, topP: 1, topK: 0, maxTokens: work.maxTokens, stopIds: [] }, key: { seed: 1, stage: 0, step: 0 } } }];
  }
  if (work.kind === 'score') {
    const length = work.tokens / work.sequences;
    const sequences = Array.from({ length: work.sequences }, (_, s) => ({ ids_T: new Int32Array(length).fill(9 + s), from: length - work.rows / work.sequences }));
    return [{ method: 'score', request: { sequences, k: work.k } }];
  }
  const loss = { kind: 'forward_kl', truncation: 'tail_bucket' } as const;
  if (work.kind === 'evaluate') return [{ method: 'forward', batch: batchOf(work), loss }];
  const step = { learningRate: 1e-4, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0, clip: 1 };
  return [{ method: 'forwardBackward', batch: batchOf(work), loss, normalizer: work.rows, recompute: work.recompute }, { method: 'optimStep', step }];
}

function batchOf({ sequences, tokens, rows, k }: SequenceWork): PackedBatch {
  const length = tokens / sequences;
  const lossRows = rows / sequences;
  return {
    tokens_N: Int32Array.from({ length: tokens }, (_, n) => n % 1000),
    cuSeqlens_S1: Int32Array.from({ length: sequences + 1 }, (_, s) => s * length),
    rows_R: Int32Array.from({ length: rows }, (_, r) => Math.floor(r / lossRows) * length + length - 1 - lossRows + (r % lossRows)),
    weights_R: new Float32Array(rows).fill(1),
    labels_R: Int32Array.from({ length: rows }, (_, r) => r % 1000),
    targets: {
      offsets_R1: Int32Array.from({ length: rows + 1 }, (_, r) => r * k),
      ids_E: Int32Array.from({ length: rows * k }, (_, e) => 7 * (e % k)),
      logProbs_E: new Float32Array(rows * k).fill(Math.log(0.9 / k)),
      tail_R: new Float32Array(rows).fill(0.1),
    },
  };
}

describe('what an engine process uses is what was foreseen, within 5 %', () => {
  it.each(WORKS)('%o', async (work) => {
    const remote = await bareProcess();
    const before = await mostHeld(remote);
    await remote.call({ method: 'open', options: { implementation: 'native', modelDir, threads: 2 } });
    const opened = (await mostHeld(remote)) - before;
    const { peakBytes } = (await remote.call({ method: 'foresee', works: [work] })) as MemoryForecast;
    for (const call of callsOf(work)) for await (const _item of remote.stream(call)) void _item;
    const used = (await mostHeld(remote)) - before;
    await remote.end();

    const mib = (bytes: number): string => (bytes / 2 ** 20).toFixed(1);
    console.log(`${JSON.stringify(work)}: foreseen ${mib(peakBytes)} MiB, used ${mib(used)} MiB (${((100 * (peakBytes - used)) / used).toFixed(1)} %), of these ${mib(opened)} MiB once opened`);
    expect(Math.abs(peakBytes - used) / used).toBeLessThanOrEqual(0.05);
  });

  it('keeps at most 20 bytes a parameter between steps', async () => {
    const remote = await bareProcess();
    await remote.call({ method: 'open', options: { implementation: 'native', modelDir, threads: 2 } });
    const { residentBytes } = (await remote.call({ method: 'foresee', works: [WORKS[0]] })) as MemoryForecast;
    await remote.end();
    expect(residentBytes / parameterCount(STUDENT)).toBeLessThanOrEqual(20);
    expect(residentBytes / parameterCount(STUDENT)).toBeGreaterThanOrEqual(18);
  });
});

import { logNormalLengths } from './batches.js';
import type { Case } from './case.js';
import { continuousCase } from './continuous.js';
import { decodeCase } from './decode.js';
import { headCase, headMemoryCase } from './head.js';
import { machineCase, onednnLimits } from './limits.js';
import { linearCase } from './linear.js';
import { adamwCase, attentionCase, elementwiseCase } from './operations.js';
import { packedCase } from './packed.js';
import type { ShapeName } from './shapes.js';
import { contentionCase, recomputeCase, trainStepCase, type StepPlan } from './train-step.js';

const STUDENTS: readonly ShapeName[] = ['smollm2-135m', 'smollm2-360m', 'qwen3-0.6b'];
const GATE = { name: 'gate train step', scope: 'standard' } as const;
const STEP = { name: 'train step', scope: 'full' } as const;

function even(sequences: number, length: number): StepPlan {
  return { lengths: new Array<number>(sequences).fill(length), text: `${sequences}x${length} tokens` };
}

/** Everything that can be measured, in the order of the table. Only the gates and a modest choice beside them are part of every run. */
export const CASES: readonly Case[] = [machineCase('registers and memory', 'standard'), ...operationCases(), ...stepCases(), ...decodeCases(), ...trialCases()];

function operationCases(): Case[] {
  return [
    onednnLimits('smollm2-135m', 4096, 'standard'),
    ...STUDENTS.slice(1).map((model) => onednnLimits(model, 4096, 'full')),
    linearCase(STUDENTS, 2048, 'standard'),
    linearCase(STUDENTS, 4096, 'full'),
    linearCase(STUDENTS, 8192, 'full'),
    attentionCase('smollm2-135m', { sequences: 4, length: 512 }, 'standard'),
    attentionCase('smollm2-135m', { sequences: 1, length: 2048 }, 'full'),
    ...STUDENTS.slice(1).map((model) => attentionCase(model, { sequences: 4, length: 512 }, 'full')),
    elementwiseCase('smollm2-135m', 8192, 'standard'),
    ...STUDENTS.slice(1).map((model) => elementwiseCase(model, 8192, 'full')),
    headCase('smollm2-135m', 2048, 'standard'),
    headCase('qwen3-0.6b', 512, 'standard'),
    headCase('qwen3-0.6b', 2048, 'full'),
    headMemoryCase('qwen3-0.6b', 8192, 'standard'),
    adamwCase(32e6, 'standard'),
  ];
}

function stepCases(): Case[] {
  const mix = { median: 512, sigma: 0.8, least: 256, most: 2048 };
  return [
    trainStepCase('smollm2-135m', even(8, 512), GATE),
    trainStepCase('qwen3-0.6b', even(8, 512), { ...GATE, mostRounds: 3 }),
    ...[2048, 4096, 8192].flatMap((tokens) => STUDENTS.filter((model) => model === 'smollm2-360m' || tokens !== 4096).map((model) => trainStepCase(model, even(tokens / 512, 512), STEP))),
    ...STUDENTS.map((model) => trainStepCase(model, even(1, 512), STEP)),
    ...[256, 1024, 2048].map((length) => trainStepCase('smollm2-135m', even(4096 / length, length), STEP)),
    trainStepCase('smollm2-135m', { lengths: logNormalLengths(mix, 7), text: 'log-normal mix of 7 sequences' }, STEP),
    recomputeCase('smollm2-135m', even(4, 512), 'standard'),
    contentionCase('smollm2-135m', even(4, 512), 'full'),
    packedCase({ name: 'smollm2-135m' }, { median: 96, sigma: 0.8, least: 16, most: 512 }, 'standard'),
  ];
}

function decodeCases(): Case[] {
  const short = [64, 256];
  const all = [64, 256, 512, 1024];
  return [
    decodeCase('smollm2-135m', { batch: 32, contexts: short }, { name: 'gate decode', scope: 'standard' }),
    ...[1, 8].map((batch) => decodeCase('smollm2-135m', { batch, contexts: short }, { name: 'decode', scope: 'standard' })),
    ...STUDENTS.flatMap((model) => [1, 8, 32].map((batch) => decodeCase(model, { batch, contexts: all }, { name: 'decode', scope: 'full' }))),
    continuousCase({ name: 'smollm2-135m', layers: 6 }, { median: 16, sigma: 1, least: 4, most: 128 }, 'standard'),
  ];
}

function trialCases(): Case[] {
  const scope = 'trial';
  return [
    machineCase('trial', scope),
    onednnLimits('trial', 64, scope),
    linearCase(['trial'], 64, scope),
    attentionCase('trial', { sequences: 2, length: 32 }, scope),
    elementwiseCase('trial', 64, scope),
    headCase('trial', 64, scope),
    headMemoryCase('trial', 64, scope),
    adamwCase(1e4, scope),
    trainStepCase('trial', even(2, 32), { name: 'gate train step', scope }),
    recomputeCase('trial', even(2, 32), scope),
    contentionCase('trial', even(2, 32), scope),
    packedCase({ name: 'trial', layers: 1 }, { median: 16, sigma: 0.8, least: 4, most: 64 }, scope),
    decodeCase('trial', { batch: 2, contexts: [64] }, { name: 'gate decode', scope }),
    continuousCase({ name: 'trial', layers: 1 }, { median: 8, sigma: 1, least: 2, most: 32 }, scope),
  ];
}

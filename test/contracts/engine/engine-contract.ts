import { describe, expect, it } from 'vitest';
import { parameterCount } from '../../../src/model-files/parameters.js';
import { readModelConfig } from '../../../src/model-files/config.js';
import { checkpointContract } from './checkpoints.js';
import { setUpContract, type ContractedEngine } from './contract.js';
import { refusalContract } from './refusals.js';
import { samplingContract } from './sampling.js';
import { scoringContract } from './scoring.js';
import { trainingContract } from './training.js';

/** The promises that could depend on what a model is made of, kept for models of one more family. */
export function familyContract(engine: ContractedEngine): void {
  describe(`engine contract: ${engine.name}`, () => {
    const contract = setUpContract(engine);
    describe('training', () => trainingContract(contract));
    describe('sampling', () => samplingContract(contract));
    describe('scoring', () => scoringContract(contract));
    describe('checkpoints', () => checkpointContract(contract));
  });
}

/** Every promise of the abstract class `Engine`, told by its public methods alone. */
export function engineContract(engine: ContractedEngine): void {
  describe(`engine contract: ${engine.name}`, () => {
    const contract = setUpContract(engine);
    it('describes the model it was opened on', async () => {
      const config = await readModelConfig(contract.studentDir());
      const info = await (await contract.open()).describe();
      expect(info).toMatchObject({ vocabSize: config.vocabSize, layers: config.layers, maxPositions: config.maxPositions, parameters: parameterCount(config), step: 0 });
      expect(info.losses).toEqual({ forward_kl: 'native', reverse_kl: 'native', hard: 'native' });
      expect(info.threads).toBeGreaterThanOrEqual(1);
      expect(info.build).not.toBe('');
    });
    describe('training', () => trainingContract(contract));
    describe('sampling', () => samplingContract(contract));
    describe('scoring', () => scoringContract(contract));
    describe('checkpoints', () => checkpointContract(contract));
    describe('refusals', () => refusalContract(contract));
  });
}

import { describe } from 'vitest';
import { HOSTED_NATIVE, NATIVE, REFERENCE } from '../../support/engines.js';
import { TINY_FAMILIES } from '../../support/tiny-model.js';
import { engineContract, familyContract } from './engine-contract.js';

const FLOAT64 = { gradient: 1e-12, nats: 1e-6, drawsAsScored: 1 };
/** bf16 activations, whose rounding depends on how many rows are computed together. */
const BF16 = { gradient: 2e-3, nats: 2e-2, drawsAsScored: 0.95 };

engineContract({ ...REFERENCE, bounds: FLOAT64 });
engineContract({ ...NATIVE, bounds: BF16 });
engineContract({ ...HOSTED_NATIVE, bounds: BF16 });

describe.each(Object.entries(TINY_FAMILIES).filter(([name]) => name !== 'llama'))('on a model of the family %s', (_name, family) => {
  familyContract({ ...REFERENCE, bounds: FLOAT64, family });
  familyContract({ ...NATIVE, bounds: BF16, family });
});

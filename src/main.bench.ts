import { loadProbes } from '../kernels/bench/probes.js';
import { loadKernels } from '../kernels/binding/kernels.js';
import { titleOf } from './cli/bench/case.js';
import { CASES } from './cli/bench/cases.js';
import type { Answer, Order } from './cli/bench/measuring-process.js';

async function answer({ title, ...settings }: Order): Promise<Answer> {
  try {
    const kernels = loadKernels();
    kernels.setThreads(settings.threads);
    const entry = CASES.find((each) => titleOf(each) === title);
    if (!entry) return { failure: 'there is no such case' };
    return { figures: await entry.measure({ ...settings, kernels, probes: loadProbes() }) };
  } catch (error) {
    return { failure: error instanceof Error ? error.message : String(error) };
  }
}

process.once('disconnect', () => process.exit()); // whoever asked is gone
process.send?.(await answer(JSON.parse(process.argv[2]) as Order), () => process.exit());

import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { ChaosJob } from './chaos-job.js';
import { ChaosService } from './chaos-service.js';
import { killAtRandomSteps } from './step-kills.js';
import { chaosTable, type ChaosRow } from './table.js';
import { runUndisturbed, type Undisturbed } from './undisturbed.js';

let service: ChaosService;
let undisturbed: Undisturbed;
const rows: ChaosRow[] = [];

beforeAll(async () => {
  service = await ChaosService.start();
  undisturbed = await runUndisturbed(service, await ChaosJob.inputs(service));
});
afterEach(() => service.killWorkers());
afterAll(async () => {
  await service.close();
  console.log(chaosTable(rows));
});

/** Enters a row into the table, and fails when something in it did not hold. */
async function enter(row: Promise<ChaosRow>): Promise<void> {
  rows.push(await row);
  expect(rows.at(-1)?.broken).toEqual([]);
}

it.each([1, 2, 3])('C1: worker and engine killed at random steps, seed %i', (seed) => enter(killAtRandomSteps(service, undisturbed, { kills: 20, seed })));

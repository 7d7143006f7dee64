import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { ChaosJob } from './chaos-job.js';
import { ChaosService } from './chaos-service.js';
import { freezeWorkers } from './freezes.js';
import { handOver } from './handovers.js';
import { deliverAgain, emptyRedis, removeRedis, restartPostgres } from './outages.js';
import { killAtSaveBoundaries } from './save-kills.js';
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
it('C2: killed at the boundaries of its saves', () => enter(killAtSaveBoundaries(service, undisturbed, { kills: 50 })));
it('C3: frozen for three leases', () => enter(freezeWorkers(service, undisturbed, { times: 4 })));
it('C4: ended in each stage', () => enter(handOver(service, undisturbed)));
it('C5: Postgres restarted', () => enter(restartPostgres(service, undisturbed, { times: 3 })));
it('C7: Redis emptied', () => enter(emptyRedis(service, undisturbed, { times: 4 })));
it('C8: Redis away', () => enter(removeRedis(service, undisturbed)));
it('C9: delivered again', () => enter(deliverAgain(service, undisturbed)));

import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { MisbehavingTeacher } from '../support/fake-teacher/misbehaving-teacher.js';
import { ChaosJob } from './chaos-job.js';
import { ChaosService } from './chaos-service.js';
import { damageCheckpoints } from './damages.js';
import { freezeWorkers } from './freezes.js';
import { handOver } from './handovers.js';
import { deliverAgain, emptyRedis, removeRedis, restartPostgres } from './outages.js';
import { killReplicas } from './replica-row.js';
import { killAtSaveBoundaries } from './save-kills.js';
import { killAtRandomSteps } from './step-kills.js';
import { chaosTable, type ChaosRow } from './table.js';
import { askForPatience, failTeacher, silenceTeacher, spoilAnswers } from './teacher-faults.js';
import { runUndisturbed, type Undisturbed } from './undisturbed.js';

let service: ChaosService;
let teacher: MisbehavingTeacher;
let undisturbed: Undisturbed;
const rows: ChaosRow[] = [];

beforeAll(async () => {
  const front = async (url: string): Promise<string> => {
    teacher = await MisbehavingTeacher.start(url);
    return teacher.url;
  };
  service = await ChaosService.start(front);
  undisturbed = await runUndisturbed(service, await ChaosJob.inputs(service));
});
afterEach(() => service.killWorkers());
afterAll(async () => {
  await service.close();
  await teacher.close();
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
it('C10: its teacher fails, then is away', () => enter(failTeacher({ service, undisturbed, teacher })));
it('C11: its teacher never answers', () => enter(silenceTeacher({ service, undisturbed, teacher })));
it('C12: its teacher answers rubbish', () => enter(spoilAnswers({ service, undisturbed, teacher })));
it('C13: its teacher asks for patience', () => enter(askForPatience({ service, undisturbed, teacher }, { seconds: 30 })));
it.each([1, 2, 3])('C18: one of two API replicas killed, seed %i', (seed) => enter(killReplicas({ submissions: 40, kills: 8, entries: 1_500, seed })));
it('C19: checkpoints damaged', () => enter(damageCheckpoints(service, undisturbed)));

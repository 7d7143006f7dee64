import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Claim } from '../../../src/runs/stage-ledger.service.js';
import { ServiceStore } from '../../../src/worker/service-store.js';
import { expire, mustClaim, openLedger, storeStages, type LedgerParts } from '../../support/bare-run.js';
import { useScratchDir } from '../../support/scratch-dir.js';
import { describeRunStore } from './store-contract.js';

const dir = useScratchDir();
let parts: LedgerParts;
let claim: Claim;
let runs = 0;

beforeAll(async () => {
  parts = await openLedger('/nowhere');
});
afterAll(() => parts.close());

const bytes = (text: string) => new TextEncoder().encode(text);
const text = (found: Uint8Array | undefined) => found && new TextDecoder().decode(found);
const open = (held: Claim): Promise<ServiceStore> => ServiceStore.open(dir(held.runId), parts.files, held);
const newClaim = async (): Promise<Claim> => {
  const [stageId] = await storeStages(parts.database, `ftjob-${++runs}`, ['distill', 'align']);
  return mustClaim(parts, stageId, 1);
};
/** Another worker takes the stage over. */
const takeOver = async (): Promise<Claim> => {
  await expire(parts.database, claim.stageId);
  return mustClaim(parts, claim.stageId, claim.epoch + 1);
};

describeRunStore('ServiceStore', async () => open(await newClaim()));

describe('ServiceStore between two workers', () => {
  let first: ServiceStore;
  beforeEach(async () => {
    claim = await newClaim();
    first = await open(claim);
  });

  it('gives the second what the first committed', async () => {
    await first.write('state/distill.json', bytes('one'));
    await first.append('metrics.jsonl', bytes('1\n'));
    const second = await open(await takeOver());

    await second.append('metrics.jsonl', bytes('2\n'));

    expect(text(await second.read('state/distill.json'))).toBe('one');
    expect(text(await second.read('metrics.jsonl'))).toBe('1\n2\n');
  });

  it.each<[string, (store: ServiceStore) => Promise<void>]>([
    ['write', (store) => store.write('state/distill.json', bytes('late'))],
    ['append', (store) => store.append('metrics.jsonl', bytes('late\n'))],
    ['remove', (store) => store.remove('state/distill.json')],
    ['publish', (store) => store.publish('aside', 'student')],
  ])('refuses the first\'s late %s and changes nothing the second reads', async (_, late) => {
    await first.write('state/distill.json', bytes('one'));
    await first.append('metrics.jsonl', bytes('1\n'));
    mkdirSync(first.path('aside'), { recursive: true });
    writeFileSync(first.path('aside/config.json'), '{}');
    const second = await open(await takeOver());

    await expect(late(first)).rejects.toMatchObject({ code: 'stages.fenced_out' });

    expect(text(await second.read('state/distill.json'))).toBe('one');
    expect(text(await second.read('metrics.jsonl'))).toBe('1\n');
    expect(await second.list('')).toEqual(['metrics.jsonl', 'state/distill.json']);
  });

  it('does not read what a late worker adds to a file that grows', async () => {
    await first.append('metrics.jsonl', bytes('1\n'));
    const second = await open(await takeOver());
    await first.append('metrics.jsonl', bytes('late\n')).catch(() => undefined);

    await second.append('metrics.jsonl', bytes('2\n'));

    expect(text(await second.read('metrics.jsonl'))).toBe('1\n2\n');
  });

  it('says which file is damaged', async () => {
    await first.write('state/distill.json', bytes('one'));
    const [place] = readdirSync(join(dir(claim.runId), 'state'));
    writeFileSync(join(dir(claim.runId), 'state', place), 'two');

    await expect(first.read('state/distill.json')).rejects.toMatchObject({ code: 'storage.file_damaged', message: expect.stringContaining('state/distill.json') });
  });

  it('carries stage and epoch in the names on the disk, and removes what was replaced', async () => {
    await first.write('state/distill.json', bytes('one'));
    await first.write('state/distill.json', bytes('two'));

    expect(readdirSync(join(dir(claim.runId), 'state'))).toEqual(['distill.json.distill-1-2']);
  });
});

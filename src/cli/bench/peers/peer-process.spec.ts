import { expect, it } from 'vitest';
import { PeerProcess } from './peer-process.js';

/** A peer that is Node and runs `script` once its end of the pipe is there; `say` and `onRun` are the protocol. */
function startFake(script: string, variables: Readonly<Record<string, string>> = {}): Promise<PeerProcess> {
  const prelude = `
    const say = (line) => process.stdout.write(JSON.stringify(line) + '\\n');
    const onRun = (answer) => require('node:readline').createInterface({ input: process.stdin }).on('line', answer);`;
  return PeerProcess.start({ command: [process.execPath, '-e', `${prelude}\n${script}`], variables });
}

async function refusal(work: Promise<unknown>): Promise<{ code: unknown; message: string }> {
  const error: unknown = await work.then(() => new Error('nothing was refused'), (caught: unknown) => caught);
  return { code: (error as { code?: unknown }).code, message: (error as Error).message };
}

it('answers each run in order, under the name that the peer said and with its variables', async () => {
  const peer = await startFake(`let runs = 0; say({ ready: 'fake ' + process.env.OMP_NUM_THREADS }); onRun(() => say({ ok: { lossNats: 2.5 / ++runs } }));`, { OMP_NUM_THREADS: '3' });
  expect(peer.name).toBe('fake 3');
  expect(await peer.run()).toEqual({ lossNats: 2.5 });
  expect(await peer.run()).toEqual({ lossNats: 1.25 });
  expect(peer.peakBytes()).toBeGreaterThan(2 ** 20);
  await peer.close();
});

it('takes work without a loss', async () => {
  const peer = await startFake(`say({ ready: 'fake' }); onRun(() => say({ ok: { tokens: 64 } }));`);
  expect(await peer.run()).toEqual({});
  await peer.close();
});

it('goes on after it was stopped', async () => {
  const peer = await startFake(`say({ ready: 'fake' }); onRun(() => say({ ok: { lossNats: 1 } }));`);
  peer.freeze();
  const answer = peer.run();
  peer.thaw();
  expect(await answer).toEqual({ lossNats: 1 });
  await peer.close();
});

it('closes a peer that is stopped and does not heed the end of its input', async () => {
  const peer = await startFake(`say({ ready: 'fake' }); process.stdin.on('end', () => process.exit(0)).resume();`);
  peer.freeze();
  await peer.close();
  await expect(peer.run()).rejects.toMatchObject({ code: 'bench.peer_failed' });
});

it('says why a run failed, with what the peer wrote on standard error', async () => {
  const peer = await startFake(`say({ ready: 'fake' }); process.stderr.write('out of tea'); onRun(() => say({ error: 'ValueError: no' }));`);
  const { code, message } = await refusal(peer.run());
  expect(code).toBe('bench.peer_failed');
  expect(message).toContain('fake failed: ValueError: no');
  await peer.close();
});

it('says how a peer ended and its last words', async () => {
  const { code, message } = await refusal(startFake(`process.stderr.write('ModuleNotFoundError: trl', () => process.exit(7));`));
  expect(code).toBe('bench.peer_failed');
  expect(message).toContain('ended with status 7');
  expect(message).toContain('ModuleNotFoundError: trl');
});

it('says that a program is not there', async () => {
  const { message } = await refusal(PeerProcess.start({ command: ['/nowhere/python'], variables: {} }));
  expect(message).toContain('ended with status 127');
  expect(message).toContain('/nowhere/python');
});

it.each([
  ['text that is no JSON', `console.log('Loading weights');`, 'no line of its protocol'],
  ['a loss that is no number', `console.log(JSON.stringify({ ok: { lossNats: 'nan' } }));`, 'no line of its protocol'],
  ['an answer before it is ready', `say({ ok: {} });`, 'must say that it is ready'],
])('refuses %s', async (_, script, words) => {
  const { code, message } = await refusal(startFake(script));
  expect(code).toBe('bench.peer_failed');
  expect(message).toContain(words);
});

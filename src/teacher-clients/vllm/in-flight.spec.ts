import { describe, expect, it } from 'vitest';
import { Aborted } from '../../common/errors.js';
import { asTheyFinish, CostGate } from './in-flight.js';

/** Work that ends when told to. */
class Piece {
  started = false;
  readonly end: (value?: unknown) => void;
  readonly fail: (error: Error) => void;
  private readonly ended: Promise<unknown>;

  constructor() {
    const { promise, resolve, reject } = withResolvers();
    this.ended = promise;
    this.end = resolve;
    this.fail = reject;
  }

  readonly run = async (): Promise<unknown> => {
    this.started = true;
    return this.ended;
  };
}

describe('the gate of costs', () => {
  const signal = new AbortController().signal;
  const started = (pieces: readonly Piece[]): boolean[] => pieces.map((piece) => piece.started);

  it('lets in what fits, in order, and a piece above the limit alone', async () => {
    const gate = new CostGate(10);
    const pieces = [6, 4, 25, 1].map((cost) => ({ cost, piece: new Piece() }));
    const done = pieces.map(({ cost, piece }) => gate.within(cost, signal, piece.run));
    const all = pieces.map(({ piece }) => piece);
    await turn();
    expect(started(all)).toEqual([true, true, false, false]);
    all[0].end();
    await done[0];
    await turn();
    expect(started(all)).toEqual([true, true, false, false]);
    all[1].end();
    await done[1];
    await turn();
    expect(started(all)).toEqual([true, true, true, false]);
    all[2].end();
    await done[2];
    await turn();
    expect(started(all)).toEqual([true, true, true, true]);
    all[3].end();
    await done[3];
  });

  it('frees the place of work that fails', async () => {
    const gate = new CostGate(1);
    await expect(gate.within(1, signal, () => Promise.reject(new Error('broken')))).rejects.toThrow('broken');
    expect(await gate.within(1, signal, () => Promise.resolve('next'))).toBe('next');
  });

  it('lets a waiting piece go when its signal fires, and the next one in', async () => {
    const gate = new CostGate(10);
    const stop = new AbortController();
    const first = new Piece();
    const running = gate.within(5, signal, first.run);
    const waiting = gate.within(9, stop.signal, () => Promise.resolve('never'));
    const behind = gate.within(5, signal, () => Promise.resolve('behind'));
    stop.abort();
    await expect(waiting).rejects.toThrow(Aborted);
    expect(await behind).toBe('behind');
    first.end();
    await running;
    await expect(gate.within(1, stop.signal, () => Promise.resolve('never'))).rejects.toThrow(Aborted);
  });
});

describe('results as they finish', () => {
  it('come in the order they end', async () => {
    const pieces = [new Piece(), new Piece(), new Piece()];
    const results = asTheyFinish(pieces.map(({ run }) => run));
    const first = results.next();
    pieces[2].end('c');
    expect((await first).value).toBe('c');
    pieces[0].end('a');
    pieces[1].end('b');
    expect([(await results.next()).value, (await results.next()).value, (await results.next()).done]).toEqual(['a', 'b', true]);
  });

  it('stop all others when one fails, and wait for them', async () => {
    const stopped: string[] = [];
    const patient = (signal: AbortSignal): Promise<never> =>
      new Promise((_, reject) => {
        signal.addEventListener('abort', () => {
          stopped.push('patient');
          reject(new Aborted('patient work'));
        });
      });
    const results = asTheyFinish([patient, () => Promise.reject(new Error('broken'))]);
    await expect(results.next()).rejects.toThrow('broken');
    expect(stopped).toEqual(['patient']);
  });

  it('stop all others when the reader leaves or the signal fires', async () => {
    for (const leave of ['break', 'signal'] as const) {
      const outside = new AbortController();
      let signals = 0;
      const patient = (signal: AbortSignal): Promise<never> =>
        new Promise((_, reject) => {
          signal.addEventListener('abort', () => {
            signals++;
            reject(new Aborted('patient work'));
          });
        });
      const read = async (): Promise<void> => {
        for await (const value of asTheyFinish<string>([() => Promise.resolve('quick'), patient], outside.signal)) {
          expect(value).toBe('quick');
          if (leave === 'break') break;
          outside.abort();
        }
      };
      if (leave === 'break') await read();
      else await expect(read()).rejects.toThrow(Aborted);
      expect(signals).toBe(1);
    }
  });
});

/** Lets everything that is ready run. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function withResolvers(): { promise: Promise<unknown>; resolve: (value?: unknown) => void; reject: (error: Error) => void } {
  let settle: { resolve: (value?: unknown) => void; reject: (error: Error) => void } | undefined;
  const promise = new Promise((resolve, reject) => (settle = { resolve, reject }));
  if (!settle) throw new Error('promises call their executor at once');
  return { promise, ...settle };
}

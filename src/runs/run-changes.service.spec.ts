import { describe, expect, it } from 'vitest';
import type { DatabaseListener, Heard } from '../database/listener.js';
import { RunChanges } from './run-changes.service.js';

const LONG_MS = 3_600_000;
const never = new AbortController().signal;

function start(): { readonly changes: RunChanges; readonly notify: Heard; readonly isListening: () => boolean } {
  let heard: Heard | undefined;
  const listener: Pick<DatabaseListener, 'listen'> = {
    listen: (channel, handler) => {
      expect(channel).toBe('run_changed');
      heard = handler;
      return () => (heard = undefined);
    },
  };
  const changes = new RunChanges(listener as DatabaseListener);
  changes.onModuleInit();
  return { changes, notify: (payload) => heard?.(payload), isListening: () => heard !== undefined };
}

describe('RunChanges', () => {
  it('wakes those who watch the run, and no others', async () => {
    const { changes, notify } = start();
    const woken: string[] = [];
    const [a, b] = [changes.watch('a'), changes.watch('b')];
    const waited = a.changed(LONG_MS, never).then(() => woken.push('a'));
    void b.changed(LONG_MS, never).then(() => woken.push('b'));
    notify('a');
    await waited;
    expect(woken).toEqual(['a']);
  });

  it('remembers a change that came while nobody waited, once', async () => {
    const { changes, notify } = start();
    const watch = changes.watch('a');
    notify('a');
    notify('a');
    await watch.changed(LONG_MS, never);
    const stop = new AbortController();
    let isOver = false;
    const again = watch.changed(LONG_MS, stop.signal).then(() => (isOver = true));
    await Promise.resolve();
    expect(isOver).toBe(false);
    stop.abort();
    await again;
  });

  it('wakes all when notifications may have been missed', async () => {
    const { changes, notify } = start();
    const watches = ['a', 'b'].map((id) => changes.watch(id).changed(LONG_MS, never));
    notify(undefined);
    await Promise.all(watches);
  });

  it('ends at shutdown, and forgets a watch that is closed', () => {
    const { changes, notify, isListening } = start();
    changes.watch('a').close();
    notify('a');
    changes.onModuleDestroy();
    expect([changes.ending.aborted, isListening()]).toEqual([true, false]);
  });
});

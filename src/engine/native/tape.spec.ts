import { expect, test } from 'vitest';
import { Tape } from './tape.js';

test('runs every step once, last first', async () => {
  const tape = new Tape();
  const ran: string[] = [];
  for (const name of ['first', 'second', 'third']) tape.push(() => ran.push(name));
  await tape.backward(() => Promise.resolve());
  await tape.backward(() => Promise.resolve());
  expect(ran).toEqual(['third', 'second', 'first']);
});

test('stops where breathing throws', async () => {
  const tape = new Tape();
  const ran: string[] = [];
  for (const name of ['first', 'second']) tape.push(() => ran.push(name));
  await expect(tape.backward(() => Promise.reject(new Error('stop')))).rejects.toThrow('stop');
  expect(ran).toEqual(['second']);
});

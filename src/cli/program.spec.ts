import { expect, it } from 'vitest';
import { buildProgram } from './program.js';

const namesOf = (program: { readonly commands: readonly { name(): string }[] }): string[] => program.commands.map((command) => command.name());

const EVERY_COMMAND = ['demo', 'distill', 'up', 'migrate', 'keys', 'gc', 'teacher', 'models', 'files', 'submit', 'watch', 'jobs', 'bench', 'bench-peers', 'study'];

it('knows every command where no word, or none of its own, is the first', async () => {
  for (const word of [undefined, '--help', 'help', 'distil', 'toString']) expect(namesOf(await buildProgram(word))).toEqual(EVERY_COMMAND);
});

it.each(EVERY_COMMAND)('knows a command by its own word: %s', async (word) => {
  const names = namesOf(await buildProgram(word));
  expect(names).toContain(word);
  expect(names.length).toBeLessThanOrEqual(3);
});

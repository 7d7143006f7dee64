import { writeFile } from 'node:fs/promises';
import { ArgumentInvalid } from './failure.js';

/** Writes what a command was asked to leave in the file of `--json`; without one, nothing. @throws ArgumentInvalid when the file cannot be written. */
export async function writeJson(file: string | undefined, value: unknown): Promise<void> {
  if (file === undefined) return;
  try {
    await writeFile(file, `${JSON.stringify(value, null, 2)}\n`);
  } catch (error) {
    throw new ArgumentInvalid(`--json ${file} cannot be written: ${error instanceof Error ? error.message : String(error)}; name a file in a directory that exists, with room on its disk`);
  }
}

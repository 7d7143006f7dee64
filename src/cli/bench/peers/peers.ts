import { join } from 'node:path';
import { Option, type Command } from 'commander';
import { writeJson } from '../../json-file.js';
import { SHAPES, type ShapeName } from '../shapes.js';
import { figureLine, peerTable, type PeerFigure } from './contest.js';
import { installPeers } from './environment.js';
import { PART_NAMES, runPart, type PartName } from './parts.js';
import { makeWorkload } from './workload.js';

const HOME = join('.limbeck', 'peers');

interface PeersFlags {
  readonly json?: string;
  readonly only: readonly PartName[];
  readonly shape: readonly ShapeName[];
}

/** `bench-peers`: the engine beside other people's, in one run. */
export function addPeersCommand(program: Command): void {
  program
    .command('bench-peers')
    .addOption(new Option('--only <part...>', 'only these comparisons').choices(PART_NAMES).default(PART_NAMES))
    .addOption(new Option('--shape <name...>', 'the students, with random weights').choices(Object.keys(SHAPES)).default(['smollm2-135m']))
    .option('--json <file>', 'also write the figures as JSON into the file')
    .description(`measure the engine beside TRL, PyTorch, Hugging Face generate and llama.cpp, which are installed below ${HOME} the first time`)
    .action(async (flags: PeersFlags) => {
      process.stdout.write(`${peerTable(await comparePeers(flags))}\n`);
    });
}

/** All figures, in order. Each contest's are said, and written into the file, as soon as it has ended: a run takes long, and what ends it early takes nothing from what was measured. */
async function comparePeers({ only, shape: shapes, json }: PeersFlags): Promise<PeerFigure[]> {
  const figures: PeerFigure[] = [];
  await writeJson(json, figures); // a file that cannot be written is better known now than in minutes
  const environment = await installPeers(HOME, sayAside);
  const report = async (ended: readonly PeerFigure[]): Promise<void> => {
    figures.push(...ended);
    sayAside(ended.map(figureLine).join('\n'));
    await writeJson(json, figures);
  };
  for (const shape of shapes) {
    const workload = await makeWorkload(shape, HOME);
    for (const part of only) await runPart(part, { workload, environment, clock: () => performance.now(), say: sayAside, report });
  }
  return figures;
}

function sayAside(line: string): void {
  process.stderr.write(`${line}\n`);
}

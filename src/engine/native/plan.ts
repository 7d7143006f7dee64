import { BatchTooLarge, type Work } from '../engine.js';
import type { Footprint, PassCore, Rehearsal } from './rehearsal.js';
import { mebibytes, remediesFor } from './remedies.js';

/** What every part of the engine works on. */
export interface EngineCore extends PassCore {
  readonly rehearsal: Rehearsal;
  /** What work of these sizes takes. */
  readonly footprintOf: (work: Work) => Promise<Footprint>;
  /** Most bytes to plan for; without it, what the machine has free. */
  readonly memoryLimitBytes?: number;
}

/** A pass about to begin. */
export interface Reservation {
  /** Names the pass in errors. */
  readonly what: string;
  readonly work: Work;
  readonly pass: (core: PassCore) => Promise<unknown>;
}

/** Prepares the arenas for a pass. @throws BatchTooLarge, with nothing changed, when what the pass takes beyond what is held cannot fit. */
export async function reserve(core: EngineCore, { what, work, pass }: Reservation): Promise<void> {
  const footprint = await core.rehearsal.of(pass);
  if (missingBytes(core, work, footprint) > freeBytes(core)) core.lasting.free(); // what an earlier request has left
  const needed = missingBytes(core, work, footprint);
  const free = freeBytes(core);
  if (needed > free) {
    const needs = async (other: Work): Promise<number> => missingBytes(core, other, await core.footprintOf(other));
    const remedies = await remediesFor(work, { needed, free, needs, student: { parameters: core.parameters.count, bytes: residentBytes(core, work) } });
    throw new BatchTooLarge(`${what} needs ${mebibytes(needed)} more memory and ${mebibytes(free)} are free; ${remedies}`);
  }
  core.arena.reset(footprint.arena);
  core.lasting.reset(footprint.lasting);
}

function missingBytes({ kernels, arena, lasting, parameters }: EngineCore, { kind }: Work, footprint: Footprint): number {
  const scratch = Math.max(0, footprint.workspaceBytes - kernels.workspaceBytes());
  return arena.missingBytes(footprint.arena) + lasting.missingBytes(footprint.lasting) + scratch + (kind === 'train' ? parameters.trainingBytes : 0);
}

// Of the model while the work runs: a model once trained keeps the state of its training.
function residentBytes({ parameters, rehearsal }: EngineCore, { kind }: Work): number {
  return rehearsal.resident.training - (kind === 'train' ? 0 : parameters.trainingBytes);
}

/** Bytes that may still be taken. */
export function freeBytes({ kernels, memoryLimitBytes = Infinity }: Pick<EngineCore, 'kernels' | 'memoryLimitBytes'>): number {
  return Math.max(0, Math.min(process.availableMemory(), memoryLimitBytes - kernels.allocatedBytes() - kernels.workspaceBytes()));
}

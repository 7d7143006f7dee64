import { z } from 'zod';
import type { LossSpec } from '../../tokens/loss.js';
import type { PackedBatch } from '../../tokens/batch.js';
import type { CheckpointRef, OptimStep, Recompute, SampleRequest, ScoreRequest, Work } from '../engine.js';

/** What the engine process opens. */
export interface EngineOptions {
  readonly implementation: 'native' | 'reference';
  /** A Hugging Face model directory. */
  readonly modelDir: string;
  /** Compute threads, >= 1. Bits depend on it. */
  readonly threads: number;
  /** Most bytes the engine may plan for; without it, what the machine has free. */
  readonly memoryLimitBytes?: number;
  /** Silence of the host after which the process kills itself, milliseconds; without it, it ends only when the host does. */
  readonly hostSilenceMs?: number;
  /** The device that the engine takes for itself alone, by its name on this machine; without it, none is taken. */
  readonly device?: string;
}

/** A call of the engine seam with its arguments. */
export type EngineCall =
  | { readonly method: 'open'; readonly options: EngineOptions }
  | { readonly method: 'forward'; readonly batch: PackedBatch; readonly loss: LossSpec }
  | { readonly method: 'forwardBackward'; readonly batch: PackedBatch; readonly loss: LossSpec; readonly normalizer: number; readonly recompute?: Recompute }
  | { readonly method: 'optimStep'; readonly step: OptimStep }
  | { readonly method: 'sample'; readonly request: SampleRequest }
  | { readonly method: 'score'; readonly request: ScoreRequest }
  | { readonly method: 'save'; readonly dir: string }
  | { readonly method: 'load'; readonly ref: CheckpointRef }
  | { readonly method: 'exportWeights'; readonly dir: string }
  | { readonly method: 'describe' }
  | { readonly method: 'foresee'; readonly works: readonly Work[] };

/** From the client to the engine process. `aborted` tells that the caller's signal had fired before the call was made. */
export type Request =
  | { readonly kind: 'call'; readonly id: number; readonly call: EngineCall; readonly aborted: boolean }
  | { readonly kind: 'abort'; readonly id: number }
  /** Says that the host lives and still owns what it computes. */
  | { readonly kind: 'alive' };

const wireError = z.object({
  code: z.string().regex(/^[a-z_]+\.[a-z_]+$/),
  kind: z.enum(['invalid', 'unauthenticated', 'forbidden', 'missing', 'conflict', 'too_large', 'unprocessable', 'too_many', 'unavailable', 'bug']),
  message: z.string(),
});

const reply = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('result'), id: z.int(), value: z.unknown() }),
  z.object({ kind: z.literal('item'), id: z.int(), value: z.unknown() }),
  z.object({ kind: z.literal('error'), id: z.int(), error: wireError }),
  z.object({ kind: z.literal('warning'), message: z.string() }),
  z.object({ kind: z.literal('alive') }),
]);

/** An error as it crosses the process border. */
export type WireError = z.infer<typeof wireError>;

/** From the engine process to the client. */
export type Reply = z.infer<typeof reply>;

const request = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('call'), id: z.int(), call: z.custom<EngineCall>((value) => typeof value === 'object' && value !== null && 'method' in value), aborted: z.boolean() }),
  z.object({ kind: z.literal('abort'), id: z.int() }),
  z.object({ kind: z.literal('alive') }),
]);

/** The envelope is checked; the arguments are what the same build's client sent, and the engine checks their content. */
export function parseRequest(message: unknown): Request {
  return request.parse(message);
}

/** The envelope is checked; values are what the same build's engine answered. */
export function parseReply(message: unknown): Reply {
  return reply.parse(message);
}

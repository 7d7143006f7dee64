import { once } from 'node:events';
import { EngineFailed, type Engine } from '../../src/engine/engine.js';
import type { EngineRequest } from '../../src/worker/stage-tools.js';
import { TestTools } from './tiny-service.js';

/** What is done to an engine before its worker gets it. */
export type Tampering = (engine: Engine) => void;

/** Computes in this thread, by engines that were tampered with. */
export class FaultyTools extends TestTools {
  constructor(private readonly tamper: Tampering) {
    super();
  }

  override async openEngine(request: EngineRequest): ReturnType<TestTools['openEngine']> {
    const engine = await super.openEngine(request);
    this.tamper(engine);
    return engine;
  }
}

/** Lets engines die, each in its optimiser step number `step`, counted from 1 since it was opened, as long as `isDue` says so. */
export function dyingIn(step: number, isDue: () => boolean): Tampering {
  return (engine) => {
    const optimStep = engine.optimStep.bind(engine);
    let taken = 0;
    engine.optimStep = (settings) => {
      if (++taken === step && isDue()) return Promise.reject(new EngineFailed('the engine process was killed by SIGSEGV'));
      return optimStep(settings);
    };
  };
}

/** Gives an order once after the first engine's optimiser step number `step`, and begins no further one before the worker has obeyed. */
export function orderingAfter(step: number, order: () => Promise<unknown>): Tampering {
  let isGiven = false;
  return (engine) => {
    const [optimStep, forwardBackward] = [engine.optimStep.bind(engine), engine.forwardBackward.bind(engine)];
    let taken = 0;
    engine.optimStep = (settings) => {
      taken++;
      return optimStep(settings);
    };
    engine.forwardBackward = async (batch, loss, normalizer, options) => {
      if (taken === step && !isGiven) {
        isGiven = true;
        await order();
        const signal = options?.signal;
        if (signal && !signal.aborted) await once(signal, 'abort');
      }
      return forwardBackward(batch, loss, normalizer, options);
    };
  };
}

import { availableParallelism } from 'node:os';
import { EngineFailed } from '../../../engine/engine.js';
import { HostedEngine } from '../../../engine/host/hosted-engine.js';
import type { PackedTargets } from '../../../tokens/batch.js';
import type { Contestant, Outcome } from './contest.js';
import { highWaterBytes } from './high-water.js';
import { collect, LOSS, OPTIMIZER, packStep, packTargets, scoreRequest, STEP, type Workload } from './workload.js';

/** What a request of generation asks for. */
export interface Generation {
  readonly batch: number;
  readonly promptTokens: number;
  readonly newTokens: number;
}

/** Our side: engines in processes of their own, started as the product starts them, that do `work` once a run. */
export class EngineSide implements Contestant {
  readonly name = 'limbeck';

  private constructor(
    private readonly engines: readonly HostedEngine[],
    private readonly work: () => Promise<Outcome>,
  ) {}

  /** A whole training step on stored targets. */
  static async trainer({ studentDir, sequences, targets }: Workload): Promise<EngineSide> {
    const student = await openEngine(studentDir);
    const tokens = sequences.slice(0, STEP.sequences);
    return new EngineSide([student], () => trainStep(student, tokens, targets));
  }

  /** A whole training step, the teacher's forward pass included, on what the teacher scores in this very step. */
  static async trainerWithTeacher({ studentDir, teacherDir, sequences }: Workload): Promise<EngineSide> {
    const [student, teacher] = [await openEngine(studentDir), await openEngine(teacherDir)];
    const tokens = sequences.slice(0, STEP.sequences);
    return new EngineSide([student, teacher], async () => trainStep(student, tokens, packTargets(await collect(teacher.score(scoreRequest(tokens))))));
  }

  /** Greedy continuation of the beginnings of the first sequences; no id stops it. */
  static async generator({ studentDir, sequences }: Workload, { batch, promptTokens, newTokens }: Generation): Promise<EngineSide> {
    const student = await openEngine(studentDir);
    const prompts = sequences.slice(0, batch).map((ids_T, sample) => ({ ids_T: ids_T.slice(0, promptTokens), sample }));
    const sampling = { temperature: 0, topP: 1, topK: 0, maxTokens: newTokens, stopIds: [] };
    return new EngineSide([student], async () => {
      await collect(student.sample({ prompts, sampling, key: { seed: 1, stage: 0, step: 0 } }));
      return {};
    });
  }

  run(): Promise<Outcome> {
    return this.work();
  }

  freeze(): void {
    for (const pid of this.pids()) process.kill(pid, 'SIGSTOP');
  }

  thaw(): void {
    for (const pid of this.pids()) process.kill(pid, 'SIGCONT');
  }

  peakBytes(): number {
    return this.pids().reduce((sum, pid) => sum + highWaterBytes(pid), 0);
  }

  async close(): Promise<void> {
    for (const engine of this.engines) await engine.close();
  }

  private pids(): number[] {
    return this.engines.map(({ pid }) => {
      if (pid === undefined) throw new EngineFailed('an engine of the comparison has no process');
      return pid;
    });
  }
}

function openEngine(modelDir: string): Promise<HostedEngine> {
  return HostedEngine.start({ engine: { implementation: 'native', modelDir, threads: availableParallelism() } });
}

async function trainStep(student: HostedEngine, sequences: readonly Int32Array[], targets: PackedTargets): Promise<Outcome> {
  const batch = packStep(sequences, targets);
  const { lossNats, weightSum } = await student.forwardBackward(batch, LOSS, batch.rows_R.length);
  await student.optimStep(OPTIMIZER);
  return { lossNats: lossNats / weightSum };
}

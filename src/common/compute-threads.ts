/**
 * Variables of a process whose threads compute, to be set before it starts. Waiting threads sleep, because spinning pools of two processes slow each other down
 * by orders of magnitude; but first they spin for some twenty microseconds: a decode step is a few hundred operations, and waking a thread takes longer than most of
 * them. (libgomp: GOMP_SPINCOUNT counts turns of its waiting loop.) @param threads >= 1
 */
export function computeThreadVariables(threads: number): Readonly<Record<'OMP_WAIT_POLICY' | 'GOMP_SPINCOUNT' | 'OMP_NUM_THREADS', string>> {
  return { OMP_WAIT_POLICY: 'passive', GOMP_SPINCOUNT: '2000', OMP_NUM_THREADS: String(threads) };
}

/** @returns the largest integer in [1, most] that `holds`, or 0 when none does; what holds for a number must hold for every smaller one. Asks about log2(most) times. */
export async function largestThat(most: number, holds: (value: number) => Promise<boolean>): Promise<number> {
  let holding = 0;
  let failing = most + 1;
  while (failing - holding > 1) {
    const middle = holding + Math.floor((failing - holding) / 2);
    if (await holds(middle)) holding = middle;
    else failing = middle;
  }
  return holding;
}

/** Undoes operations in reverse: each pushes, while it runs forward, the function that carries gradients back through it. */
export class Tape {
  private readonly steps: (() => void)[] = [];

  push(backward: () => void): void {
    this.steps.push(backward);
  }

  /** Runs every backward once, last first, and leaves the tape empty. `breathe` is awaited between steps and may throw to stop. */
  async backward(breathe: () => Promise<void>): Promise<void> {
    for (let step = this.steps.pop(); step; step = this.steps.pop()) {
      step();
      await breathe();
    }
  }
}

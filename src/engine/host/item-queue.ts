/** Hands items from a producer that pushes to one consumer that iterates; holds what was not yet taken. */
export class ItemQueue<T> implements AsyncIterable<T> {
  private readonly items: T[] = [];
  private outcome: { readonly error?: unknown } | undefined;
  private wake: () => void = () => {};

  push(item: T): void {
    this.items.push(item);
    this.wake();
  }

  /** No more items follow. */
  finish(): void {
    this.outcome ??= {};
    this.wake();
  }

  /** Items already pushed are still handed out, then the consumer gets `error`. */
  fail(error: unknown): void {
    this.outcome ??= { error };
    this.wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T> {
    for (;;) {
      for (let item = this.items.shift(); item !== undefined; item = this.items.shift()) yield item;
      if (this.outcome) break;
      await new Promise<void>((resolve) => (this.wake = resolve));
    }
    if ('error' in this.outcome) throw this.outcome.error;
  }
}

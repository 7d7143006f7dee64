/** A call of `node:fs/promises`. */
export interface FileCall {
  readonly call: 'open' | 'sync' | 'rename' | 'rm';
  readonly path: string;
  readonly when: 'before' | 'after';
}

export function watchFileCalls(onCall: (call: FileCall) => void): Promise<() => void>;

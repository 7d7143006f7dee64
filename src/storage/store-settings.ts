/** Where files lie; the token under which a process provides it. */
export abstract class StoreSettings {
  /** Directory of models, prompt files and runs; shared between nodes when there are several. */
  abstract readonly storeDir: string;
}

/** How much may be sent; the token under which the API provides it. */
export abstract class UploadLimits {
  /** Largest prompt file, and largest line in it. Bytes. */
  abstract readonly maxFileBytes: number;
  abstract readonly maxLineBytes: number;
  /** Largest single file of a model. Bytes. */
  abstract readonly maxModelFileBytes: number;
}

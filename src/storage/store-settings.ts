/** Where files lie; both API and worker settings are such. */
export interface StoreSettings {
  /** Directory of models, prompt files and runs; shared between nodes when there are several. */
  readonly storeDir: string;
}

/** How much may be sent. */
export interface UploadLimits {
  /** Largest prompt file, and largest line in it. Bytes. */
  readonly maxFileBytes: number;
  readonly maxLineBytes: number;
  /** Largest single file of a model. Bytes. */
  readonly maxModelFileBytes: number;
}

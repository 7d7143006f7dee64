/** Sizes of the keys and values one position leaves behind. */
export interface CacheShape {
  readonly layers: number;
  readonly kvHeads: number;
  readonly headDim: number;
}

/** What is needed to run a `teacher.onnx`. */
export interface OnnxOptions {
  readonly runtime: 'onnx';
  readonly modelPath: string;
  readonly threads: number;
  readonly cache: CacheShape;
  readonly vocabSize: number;
  /** Positions the graph knows, padding included. */
  readonly maxPositions: number;
}

/** What is needed to run a model directory on the native engine's operations. */
export interface NativeOptions {
  readonly runtime: 'native';
  readonly modelDir: string;
  readonly threads: number;
  /** Longest sequence in positions. */
  readonly maxLength: number;
}

export type RuntimeOptions = OnnxOptions | NativeOptions;

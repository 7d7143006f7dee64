import { serveEngine } from './engine/host/serve-engine.js';
import { NativeEngine } from './engine/native/native-engine.js';
import { ReferenceEngine } from './engine/reference/reference-engine.js';

serveEngine(({ implementation, modelDir, threads, memoryLimitBytes }, onWarning) =>
  implementation === 'native' ? NativeEngine.open({ modelDir, threads, memoryLimitBytes, onWarning }) : ReferenceEngine.open(modelDir),
);

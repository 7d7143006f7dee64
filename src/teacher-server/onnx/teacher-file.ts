import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { writeTeacherModel } from '../../model-files/onnx/teacher-model.js';

/**
 * The path of the directory's `teacher.onnx`, built first when it is missing or older than the weights or the configuration.
 * @param onNotice is told before a build, which takes seconds.
 */
export async function ensureTeacherFile(modelDir: string, onNotice: (message: string) => void): Promise<string> {
  const path = join(modelDir, 'teacher.onnx');
  const built = await modifiedMs(path);
  if (built !== undefined && built >= (await newestSourceMs(modelDir))) return path;
  onNotice(`${path} is ${built === undefined ? 'missing' : 'older than the weights'}: building it`);
  return writeTeacherModel(modelDir);
}

async function newestSourceMs(modelDir: string): Promise<number> {
  const sources = (await readdir(modelDir)).filter((name) => name === 'config.json' || name.endsWith('.safetensors'));
  const times = await Promise.all(sources.map((name) => modifiedMs(join(modelDir, name))));
  return Math.max(0, ...times.filter((time) => time !== undefined));
}

async function modifiedMs(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).mtimeMs;
  } catch {
    return undefined;
  }
}

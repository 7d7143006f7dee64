import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The version in Limbeck's `package.json`, found from the sources as well as from the compiled tree. */
export function limbeckVersion(): string {
  for (let folder = dirname(fileURLToPath(import.meta.url)); folder !== dirname(folder); folder = dirname(folder)) {
    const version = versionIn(join(folder, 'package.json'));
    if (version) return version;
  }
  return 'unknown';
}

function versionIn(path: string): string | undefined {
  try {
    return /"version":\s*"([^"]+)"/.exec(readFileSync(path, 'utf8'))?.[1];
  } catch {
    return undefined;
  }
}

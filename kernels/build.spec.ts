import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { buildKernels } from './build.mjs';

const source = `
#include <node_api.h>
#include "core/answer.h"
NAPI_MODULE_INIT() {
  napi_value value;
  napi_create_int32(env, ANSWER, &value);
  napi_set_named_property(env, exports, "answer", value);
  return exports;
}`;

let dir: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'kernels-'));
  for (const name of ['core', 'ops', 'binding', 'bench']) mkdirSync(join(dir, name));
  writeFileSync(join(dir, 'core', 'answer.h'), '#define ANSWER 41\n');
  writeFileSync(join(dir, 'binding', 'module.cpp'), source);
  writeFileSync(join(dir, 'bench', 'probe.cpp'), 'int probe() { return 1; }\n');
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

async function build(): Promise<{ log: string[]; paths: string[] }> {
  const log: string[] = [];
  return { log, paths: await buildKernels({ dir, log: (line) => log.push(line) }) };
}

describe('buildKernels', () => {
  it('builds both libraries and the probes once, and again only what a changed header concerns', async () => {
    const first = await build();
    expect(first.paths).toEqual(['limbeck_kernels_avx512', 'limbeck_kernels_avx2', 'limbeck_bench'].map((library) => join(dir, 'build', `${library}.node`)));
    expect(first.log).toHaveLength(6);
    expect(createRequire(import.meta.url)(first.paths[1])).toEqual({ answer: 41 });

    expect((await build()).log).toEqual([]);

    writeFileSync(join(dir, 'ops', 'other.cpp'), 'int other() { return 1; }\n');
    expect((await build()).log.filter((line) => line.startsWith('compiling'))).toEqual(['compiling ops/other.cpp for avx512', 'compiling ops/other.cpp for avx2']);

    writeFileSync(join(dir, 'core', 'answer.h'), '#define ANSWER 42\n');
    const changed = await build();
    expect(changed.log.filter((line) => line.startsWith('compiling'))).toEqual([
      'compiling binding/module.cpp for avx512',
      'compiling binding/module.cpp for avx2',
    ]);
  });

  it("fails with the compiler's words, and leaves the libraries that were there", async () => {
    const { paths } = await build();
    writeFileSync(join(dir, 'ops', 'broken.cpp'), 'int broken() { return undeclared_name; }\n');
    await expect(build()).rejects.toThrow(/broken\.cpp.*error.*undeclared_name/s);
    expect(createRequire(import.meta.url)(paths[1])).toEqual({ answer: 41 });
  });
});

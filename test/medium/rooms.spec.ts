import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const root = process.cwd();

/** One import a row of the table forbids: [room's rule, importing file, imported file or package]. */
const planted: readonly (readonly [rule: string, from: string, to: string])[] = [
  ['room-common', 'src/common/a.ts', 'src/tokens/target.ts'],
  ['room-tokens', 'src/tokens/a.ts', 'src/model-files/a.ts'],
  ['room-model-files', 'src/model-files/a.ts', 'src/config/target.ts'],
  ['room-teacher-clients', 'src/teacher-clients/a.ts', 'src/config/target.ts'],
  ['room-engine-seam-and-host', 'src/engine/host/a.ts', 'src/engine/native/target.ts'],
  ['room-engine-reference', 'src/engine/reference/a.ts', 'kernels/binding/target.ts'],
  ['room-engine-native', 'src/engine/native/a.ts', 'src/engine/reference/target.ts'],
  ['room-distillation', 'src/distillation/a.ts', 'src/engine/native/target.ts'],
  ['outside-distillation', 'src/distillation/b.ts', 'node:fs'],
  ['room-config', 'src/config/a.ts', 'src/http/target.ts'],
  ['room-database', 'src/database/a.ts', 'src/queue/target.ts'],
  ['room-migrations', 'migrations/a.ts', 'src/common/target.ts'],
  ['room-http', 'src/http/a.ts', 'src/distillation/target.ts'],
  ['room-queue', 'src/queue/a.ts', 'src/database/target.ts'],
  ['room-storage', 'src/storage/a.ts', 'src/distillation/target.ts'],
  ['room-teacher-server', 'src/teacher-server/a.ts', 'src/distillation/target.ts'],
  ['room-teacher-server', 'src/teacher-server/b.ts', 'src/teacher-server/native/target.ts'],
  ['room-teacher-native', 'src/teacher-server/native/a.ts', 'src/teacher-server/scheduler.ts'],
  ['room-auth', 'src/auth/a.ts', 'src/runs/target.service.ts'],
  ['room-teachers', 'src/teachers/a.ts', 'src/auth/target.entity.ts'],
  ['room-prompt-sets', 'src/prompt-sets/a.ts', 'src/engine/native/target.ts'],
  ['room-students', 'src/students/a.ts', 'src/nodes/target.service.ts'],
  ['room-nodes', 'src/nodes/a.ts', 'src/model-files/target.ts'],
  ['room-metrics', 'src/metrics/a.ts', 'src/runs/target.service.ts'],
  ['room-runs', 'src/runs/a.ts', 'src/schedules/target.service.ts'],
  ['room-schedules', 'src/schedules/a.ts', 'src/engine/host/target.ts'],
  ['room-health', 'src/health/a.ts', 'src/runs/target.service.ts'],
  ['room-console', 'src/console/a.ts', 'src/runs/target.service.ts'],
  ['room-worker', 'src/worker/a.ts', 'src/engine/native/target.ts'],
  ['room-embedded', 'src/embedded/a.ts', 'src/runs/target.repository.ts'],
  ['room-kernels', 'kernels/binding/a.ts', 'src/common/target.ts'],
  ['no-test-in-product', 'src/cli/a.ts', 'test/support/target.ts'],
];

/** Imports the table allows; none of them may be reported. */
const allowed: readonly (readonly [from: string, to: string])[] = [
  ['src/tokens/fine.ts', 'src/common/target.ts'],
  ['src/engine/native/fine.ts', 'kernels/binding/target.ts'],
  ['src/engine/host/fine.ts', 'src/engine/engine.ts'],
  ['src/distillation/fine.ts', 'src/teacher-clients/teacher-client.ts'],
  ['src/storage/fine.ts', 'src/distillation/store.ts'],
  ['src/database/fine.ts', 'migrations/target.ts'],
  ['src/teacher-server/fine.ts', 'src/model-files/target.ts'],
  ['src/teacher-server/native/fine.ts', 'src/engine/native/target.ts'],
  ['src/teacher-server/native/good.ts', 'src/teacher-server/runtime.ts'],
  ['src/runs/fine.ts', 'src/auth/target.service.ts'],
  ['src/worker/fine.ts', 'src/distillation/target.ts'],
  ['src/cli/fine.ts', 'src/engine/native/target.ts'],
];

let tree: string;
let violations: { readonly rule: string; readonly from: string }[];

async function plant(from: string, to: string): Promise<void> {
  const isFile = !to.startsWith('node:');
  if (isFile) {
    await mkdir(join(tree, dirname(to)), { recursive: true });
    await writeFile(join(tree, to), 'export const target = 1;\n', { flag: 'a' });
  }
  await mkdir(join(tree, dirname(from)), { recursive: true });
  const path = relative(dirname(from), to).replace(/[.]ts$/, '.js');
  const specifier = isFile ? (path.startsWith('.') ? path : `./${path}`) : to;
  await writeFile(join(tree, from), `import * as target from '${specifier}';\nexport const seen = target;\n`);
}

beforeAll(async () => {
  tree = await mkdtemp(join(tmpdir(), 'limbeck-rooms-'));
  await cp(join(root, '.dependency-cruiser.cjs'), join(tree, '.dependency-cruiser.cjs'));
  await cp(join(root, 'tsconfig.json'), join(tree, 'tsconfig.json'));
  await cp(join(root, 'package.json'), join(tree, 'package.json'));
  await symlink(join(root, 'node_modules'), join(tree, 'node_modules'));
  for (const [, from, to] of planted) await plant(from, to);
  for (const [from, to] of allowed) await plant(from, to);
  await writeFile(join(tree, 'src/cli/loop-a.ts'), "export type { B } from './loop-b.js';\nexport interface A { readonly name: string }\n");
  await writeFile(join(tree, 'src/cli/loop-b.ts'), "import type { A } from './loop-a.js';\nexport interface B { readonly a: A }\n");
  const output = await new Promise<string>((resolve) => {
    const args = [join(root, 'node_modules/dependency-cruiser/bin/dependency-cruise.mjs'), '--config', '.dependency-cruiser.cjs', '--output-type', 'json', 'src', 'kernels', 'migrations', 'test'];
    execFile(process.execPath, args, { cwd: tree, maxBuffer: 1 << 26 }, (_error, stdout) => resolve(stdout));
  });
  const report = JSON.parse(output) as { summary: { violations: { from: string; rule: { name: string } }[] } };
  violations = report.summary.violations.map(({ from, rule }) => ({ from, rule: rule.name }));
});

afterAll(async () => {
  await rm(tree, { recursive: true, force: true });
});

describe('the import table', () => {
  it.each(planted)('%s refuses %s importing %s', (rule, from) => {
    expect(violations).toContainEqual({ rule, from });
  });

  it('refuses a cycle, type-only imports included', () => {
    expect(violations.filter(({ rule }) => rule === 'no-cycle').map(({ from }) => from)).toContain('src/cli/loop-a.ts');
  });

  it('lets every allowed import pass', () => {
    const fine = new Set(allowed.map(([from]) => from));
    expect(violations.filter(({ from }) => fine.has(from))).toEqual([]);
  });
});

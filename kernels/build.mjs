// Builds the native kernels: the same sources twice, for CPUs with AVX-512 bf16 and for CPUs with AVX2; and the benchmark's probes. `node kernels/build.mjs`, or buildKernels().
// For tests, once more on request: the code for AVX-512 and AMX over a model of these instructions, which runs on CPUs without them.
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const ownDir = dirname(fileURLToPath(import.meta.url));
const nodeHeaders = join(dirname(ownDir), 'node_modules', 'node-api-headers', 'include');
const remedy = 'install the packages g++ and libdnnl-dev, or run `npm run setup` as root';

const kernelDirs = ['core', 'ops', 'binding'];
const avx2 = ['-mavx2', '-mfma', '-mf16c'];
const avx512 = [...avx2, '-mavx512f', '-mavx512bw', '-mavx512vl', '-mavx512dq', '-mavx512bf16', '-mamx-tile', '-mamx-bf16', '-mprefer-vector-width=512'];

const instructionModel = join(dirname(ownDir), 'test', 'support', 'kernels', 'instruction-model.h');

/** What can be built, by name: the two builds of the kernels, the probes of the benchmark, which choose instructions when they run, and the tests' own build. */
const libraries = {
  avx512: { file: 'limbeck_kernels_avx512.node', flags: avx512, sourceDirs: kernelDirs, linked: [] },
  avx2: { file: 'limbeck_kernels_avx2.node', flags: avx2, sourceDirs: kernelDirs, linked: [] },
  bench: { file: 'limbeck_bench.node', flags: avx2, sourceDirs: ['bench'], linked: ['-ldnnl'] },
  model: { file: 'limbeck_kernels_model.node', flags: [...avx2, '-O2', '-include', instructionModel], sourceDirs: kernelDirs, linked: [] },
};
const product = ['avx512', 'avx2', 'bench'];

// Contraction is off so that a*b+c is rounded as written: otherwise the compiler picks, per loop and per version, which products are fused, and one
// row's bits could depend on its place in a vector. Where fusing pays, the source says std::fma. -fno-math-errno and -fno-trapping-math change
// no value; they let sqrt and selections become vector instructions. -ffast-math is never used: it reorders sums. -Wno-…uninitialized: GCC 12's
// own AVX-512 headers set it off.
const compileFlags = ['-std=c++17', '-O3', '-fPIC', '-fopenmp', '-fvisibility=hidden', '-ffp-contract=off', '-fno-math-errno', '-fno-trapping-math',
  '-Wall', '-Wextra', '-Wno-psabi', '-Wno-uninitialized', '-Wno-maybe-uninitialized', '-DNAPI_VERSION=8'];

/**
 * Builds what is out of date and nothing else; a source is up to date when the hash of its command, its text and every header it read is unchanged.
 * Safe beside another build of the same tree: files appear by rename.
 * @param {{ log?: (line: string) => void, dir?: string, names?: readonly string[] }} [options] `log` hears one line a compiled file; `dir` holds core/, ops/, binding/, bench/
 *   and gets build/; `names` are the libraries wanted: by default all but the tests' own, `model`.
 * @returns {Promise<string[]>} the paths of the libraries.
 * @throws {Error} with the compiler's words.
 */
export async function buildKernels({ log = () => {}, dir = ownDir, names = product } = {}) {
  const compiler = process.env.CXX || 'g++';
  const setting = { dir, compiler, version: await compilerVersion(compiler), log };
  const jobs = names.flatMap((library) =>
    libraries[library].sourceDirs.flatMap((sourceDir) => listSources(dir, sourceDir)).map((source) => ({ library, source })));
  const objects = await inParallel(jobs, (job) => compile(job, setting));
  return inParallel(names, (library) => link(library, objects.filter((object) => object.library === library), setting));
}

async function compilerVersion(compiler) {
  try {
    return (await run(compiler, ['-dumpfullversion', '-dumpmachine'])).stdout.trim();
  } catch (cause) {
    throw new Error(`the C++ compiler ${compiler} does not run; ${remedy}`, { cause });
  }
}

function listSources(dir, sourceDir) {
  return readdirSync(join(dir, sourceDir)).filter((name) => name.endsWith('.cpp')).sort().map((name) => join(sourceDir, name));
}

async function compile({ library, source }, { dir, compiler, version, log }) {
  const outDir = join(dir, 'build', library);
  mkdirSync(outDir, { recursive: true });
  const stem = join(outDir, `${dirname(source)}.${basename(source, '.cpp')}`);
  const files = { object: `${stem}.o`, depends: `${stem}.d`, key: `${stem}.key` };
  const args = [...compileFlags, ...libraries[library].flags, `-DLIMBECK_LIBRARY="${library}"`, `-I${dir}`, `-I${nodeHeaders}`, '-c', join(dir, source)];
  const command = [compiler, version, ...args].join('\n');
  const key = compileKey(command, files);
  if (key && key === readIfThere(files.key)) return { library, path: files.object, key };
  log(`compiling ${source} for ${library}`);
  const aside = `${stem}.${process.pid}`;
  await runCompiler(compiler, [...args, '-MD', '-MF', `${aside}.d`, '-o', `${aside}.o`], [`${aside}.d`, `${aside}.o`]);
  rmSync(files.key, { force: true });
  renameSync(`${aside}.o`, files.object);
  renameSync(`${aside}.d`, files.depends);
  const builtKey = compileKey(command, files);
  writeWhole(files.key, builtKey);
  return { library, path: files.object, key: builtKey };
}

/** Hash of the command and of every file the last compilation read, or undefined when there was none or one of them is gone. */
function compileKey(command, files) {
  const depends = readIfThere(files.depends);
  if (!depends || !existsSync(files.object)) return undefined;
  const paths = depends.slice(depends.indexOf(':') + 1).replaceAll('\\\n', ' ').split(/(?<!\\)\s+/).filter(Boolean);
  const hash = createHash('sha256').update(command);
  for (const path of paths) {
    const digest = fileDigest(path.replaceAll('\\ ', ' '));
    if (!digest) return undefined;
    hash.update(digest);
  }
  return hash.digest('hex');
}

function fileDigest(path) {
  try {
    return createHash('sha256').update(readFileSync(path)).digest('hex');
  } catch {
    return undefined;
  }
}

async function link(library, objects, { dir, compiler, version, log }) {
  const path = join(dir, 'build', libraries[library].file);
  const keyPath = join(dir, 'build', library, 'link.key');
  const args = ['-shared', '-fopenmp', ...objects.map((object) => object.path), ...libraries[library].linked];
  const key = createHash('sha256').update([compiler, version, ...args, ...objects.map((object) => object.key)].join('\n')).digest('hex');
  if (existsSync(path) && readIfThere(keyPath) === key) return path;
  log(`linking ${basename(path)}`);
  const aside = `${path}.${process.pid}`;
  await runCompiler(compiler, [...args, '-o', aside], [aside]);
  renameSync(aside, path);
  writeWhole(keyPath, key);
  return path;
}

async function runCompiler(compiler, args, outputs) {
  try {
    const { stderr } = await run(compiler, args, { maxBuffer: 64 * 1024 * 1024 });
    if (stderr) process.stderr.write(stderr);
  } catch (cause) {
    for (const output of outputs) rmSync(output, { force: true });
    const words = cause.stderr || cause.message;
    const advice = /dnnl\.h(pp)?: No such file|cannot find -ldnnl/.test(words) ? `\noneDNN is missing; ${remedy}` : '';
    throw new Error(`${compiler} failed:\n${words}${advice}`, { cause });
  }
}

function readIfThere(path) {
  return existsSync(path) ? readFileSync(path, 'utf8') : undefined;
}

function writeWhole(path, text) {
  writeFileSync(`${path}.${process.pid}`, text);
  renameSync(`${path}.${process.pid}`, path);
}

async function inParallel(items, work) {
  const results = new Array(items.length);
  let next = 0;
  const lane = async () => {
    for (let index = next++; index < items.length; index = next++) results[index] = await work(items[index]);
  };
  const lanes = await Promise.allSettled(Array.from({ length: Math.min(items.length, availableParallelism()) }, lane));
  const failure = lanes.find(({ status }) => status === 'rejected'); // by now no compiler writes into the directory any longer
  if (failure) throw failure.reason;
  return results;
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  try {
    for (const path of await buildKernels({ log: (line) => console.log(line) })) console.log(`ready ${path}`);
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  }
}

// The import table of the rooms (ARCHITECTURE.md, "Rooms"): one row a room, saying which other rooms it may import. Everything else is refused.
const shared = ['common', 'tokens'];
const features = ['auth', 'teachers', 'prompt-sets', 'students', 'nodes', 'metrics', 'runs', 'schedules']; // each imports only leftward
const plumbing = ['config', 'database', 'http', 'queue', 'storage'];
const pureDistillation = 'distillation/(?!.*loop)[^/]+'; // features see the spec and the plan, not the loops
const seams = ['engine/engine[.]ts', 'teacher-clients/teacher-client[.]ts'];

const src = (paths) => paths.map((path) => `^src/${path}${path.endsWith('[.]ts') || path.endsWith('+') ? '' : '(/|$)'}`);

/** room name, where it lives, what it may import of ours on top of itself and the shared rooms, and which packages or builtins it must not. */
const rooms = [
  { name: 'common', path: '^src/common/', may: [], shared: [] },
  { name: 'tokens', path: '^src/tokens/', may: [] },
  { name: 'model-files', path: '^src/model-files/', may: [] },
  { name: 'teacher-clients', path: '^src/teacher-clients/', may: [] },
  { name: 'engine-seam-and-host', path: '^src/engine/(engine[.]ts|host/)', own: '^src/engine/(engine[.]ts|host/)', may: [] },
  { name: 'engine-reference', path: '^src/engine/reference/', may: src(['engine/engine[.]ts', 'model-files']) },
  { name: 'engine-native', path: '^src/engine/native/', may: [...src(['engine/engine[.]ts', 'model-files']), '^kernels/binding/'] },
  {
    name: 'distillation',
    path: '^src/distillation/',
    may: src([...seams, 'model-files']),
    never: '^(node:)?(fs|timers|child_process|worker_threads|http|https|net)(/|$)|@nestjs|[/]bull[/]|typeorm',
  },
  { name: 'config', path: '^src/config/', may: [] },
  { name: 'database', path: '^src/database/', may: [...src(['config']), '^migrations/'] },
  { name: 'migrations', path: '^migrations/', may: [], shared: [] },
  { name: 'http', path: '^src/http/', may: src(['config']) },
  { name: 'queue', path: '^src/queue/', may: src(['config']) },
  { name: 'storage', path: '^src/storage/', may: src(['config', 'distillation/store[.]ts']) },
  { name: 'teacher-server', path: '^src/teacher-server/(?!native/)', may: src(['config', 'http', 'model-files', 'engine/engine[.]ts']) },
  // Its other half lies in a process of its own, which the server starts by its path.
  {
    name: 'teacher-native',
    path: '^src/teacher-server/native/',
    may: [...src(['teacher-server/runtime[.]ts', 'teacher-server/runtime-options[.]ts', 'teacher-server/serve-session[.]ts', 'teacher-server/teacher-server.errors[.]ts', 'engine/native', 'model-files']), '^kernels/binding/'],
  },
  ...features.map((name, index) => ({
    name,
    path: `^src/${name}/`,
    may: [
      ...src([...plumbing, pureDistillation]),
      ...features.slice(0, index).map((left) => `^src/${left}/[^/]+[.]service[.]ts$`),
      ...(name === 'students' || name === 'prompt-sets' ? src(['model-files']) : []),
    ],
  })),
  { name: 'health', path: '^src/health/', may: src(plumbing) },
  { name: 'console', path: '^src/console/', may: src(plumbing) },
  ...['worker', 'embedded'].map((name) => ({
    name,
    path: `^src/${name}/`,
    may: [...features.map((feature) => `^src/${feature}/[^/]+[.]service[.]ts$`), ...src(['distillation', 'engine/engine[.]ts', 'engine/host', 'teacher-clients', 'model-files', ...plumbing])],
  })),
  { name: 'kernels', path: '^kernels/', may: [], shared: [] },
];

const wiring = '[.](spec|module)[.]ts$'; // tests and modules may import anything

const tableRules = rooms.map((room) => ({
  name: `room-${room.name}`,
  comment: `${room.name} may import only what its row of the table allows`,
  severity: 'error',
  from: { path: room.path, pathNot: wiring },
  to: { path: '^(src|kernels|test|migrations)/', pathNot: [room.own ?? room.path, ...(room.shared ?? src(shared)), ...room.may] },
}));

/** A pattern as a reader would say it. */
const said = (pattern) =>
  pattern
    .replace(/^\^(src\/)?/, '')
    .replace(pureDistillation, 'distillation (pure parts)')
    .replace(/\(\/\|\$\)$|\/$/, '')
    .replace('/[^/]+[.]service[.]ts$', ' (services)')
    .replaceAll('[.]', '.');

/** What a row allows, with words for the groups that many rows share. */
const allowance = (may) =>
  may
    .map(said)
    .join(', ')
    .replace('config, database, http, queue, storage', 'plumbing')
    .replace(/(\S+) \(services\)(?:, \S+ \(services\))+/, (group) => `services of ${group.replaceAll(' (services)', '')}`);

/** The table as `npm run check` prints it. */
const map = () =>
  [
    'plumbing is config, database, http, queue, storage',
    'rooms, and what each may import of ours beyond itself (every room but common, tokens, kernels and migrations: common and tokens too):',
    ...rooms.map(({ name, may, never }) => `  ${name.padEnd(22)} ${allowance(may) || 'nothing'}${never ? '; no files, network, timers, Nest, Bull or TypeORM' : ''}`),
    '  cli, main, modules, tests: anything. No cycles, and no product file may import a test.',
  ].join('\n');

const outsideRules = rooms
  .filter((room) => room.never)
  .map((room) => ({
    name: `outside-${room.name}`,
    comment: `${room.name} is pure: files come through the store it is handed, time through the clock`,
    severity: 'error',
    from: { path: room.path, pathNot: wiring },
    to: { path: room.never },
  }));

module.exports = {
  forbidden: [
    ...tableRules,
    ...outsideRules,
    { name: 'no-cycle', comment: 'files that need each other are one file, or two with a third', severity: 'error', from: {}, to: { circular: true } },
    { name: 'no-test-in-product', comment: 'the product never needs its tests', severity: 'error', from: { path: '^(src|kernels)/', pathNot: wiring }, to: { path: '^test/' } },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '(^|/)(dist|build)/' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: { extensions: ['.ts', '.js', '.mjs', '.cjs', '.json'] },
  },
};

if (require.main === module) process.stdout.write(`${map()}\n`);

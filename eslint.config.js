import tseslint from 'typescript-eslint';

const environment = { object: 'process', property: 'env', message: 'only src/config reads the environment' };
const impure = [
  { object: 'Math', property: 'random', message: 'the core draws from Philox keys, so that a run can be repeated' },
  { object: 'Date', property: 'now', message: 'the core is handed a clock' },
  { object: 'performance', property: 'now', message: 'the core is handed a clock' },
];

export default tseslint.config(
  { ignores: ['.limbeck/**', 'node_modules/**', 'dist/**', 'kernels/build/**', 'models/**', 'test/golden/files/**', 'runs/**'] },
  ...tseslint.configs.recommended,
  {
    files: ['src/**/*.ts', 'kernels/**/*.ts', 'test/**/*.ts', 'vitest.config.ts', 'vitest.chaos.config.ts'],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': 'error',
      '@typescript-eslint/await-thenable': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_' }],
      eqeqeq: 'error',
      'no-else-return': 'error',
      'max-lines': ['error', { max: 400 }],
    },
  },
  {
    files: ['src/**/*.ts'],
    ignores: ['**/*.spec.ts'],
    rules: { 'max-lines-per-function': ['error', { max: 60, skipBlankLines: true, skipComments: true }], 'max-params': ['error', { max: 4 }] },
  },
  { files: ['src/**/*.ts'], ignores: ['src/config/**', '**/*.spec.ts'], rules: { 'no-restricted-properties': ['error', environment] } },
  {
    files: ['src/distillation/**/*.ts'],
    ignores: ['**/*.spec.ts'],
    rules: {
      'no-restricted-properties': ['error', environment, ...impure],
      'no-restricted-globals': ['error', 'setTimeout', 'setInterval', 'setImmediate', 'fetch'],
    },
  },
);

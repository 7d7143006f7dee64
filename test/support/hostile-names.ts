import { philox4x32 } from '../../src/common/philox.js';

/** What hostile names are made of. */
const SCRAPS = ['..', '.', '/', '\\', '\0', '%2e%2e', '%2f', '..%c0%af', '~', 'C:', '//', 'a', 'models', ' ', '\n', '\u2024\u2024', '\uff0e', '/etc/passwd', '.staging', '-', '_', '$(id)', '`', '|', '\u202e', 'é', 'con', '..;', '../', 'link', 'config.json'];

/** 10,000 names, the same each time. */
export function hostileNames(): string[] {
  return Array.from({ length: 10_000 }, (_unused, index) => {
    const draws = [...philox4x32([13, 0], [index, 0, 0, 0]), ...philox4x32([13, 0], [index, 1, 0, 0])];
    return draws.slice(0, 1 + (draws[7] % 7)).map((draw) => SCRAPS[draw % SCRAPS.length]).join('');
  });
}

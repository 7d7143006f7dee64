import { ArgumentInvalid } from './failure.js';

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const;
const STEP = 1024;

/** A number of bytes as people write it: `1048576`, `10GiB`, `1.5 TiB`. @param option names it in the error. @throws ArgumentInvalid */
export function parseBytes(text: string, option: string): number {
  const [, digits, unit] = /^(\d{1,15}(?:\.\d{1,3})?) ?(B|KiB|MiB|GiB|TiB)?$/.exec(text.trim()) ?? [];
  const bytes = Math.round(Number(digits) * STEP ** UNITS.findIndex((known) => known === (unit ?? 'B')));
  if (digits === undefined || !Number.isSafeInteger(bytes)) throw new ArgumentInvalid(`${option} is "${text}"; give bytes, or a size such as 500MiB or 10GiB`);
  return bytes;
}

/** With one decimal in the largest unit of which there is at least one. */
export function formatBytes(bytes: number): string {
  const power = UNITS.findLastIndex((_, index) => bytes >= STEP ** index);
  return power <= 0 ? `${bytes} B` : `${(bytes / STEP ** power).toFixed(1)} ${UNITS[power]}`;
}

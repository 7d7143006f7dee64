import { GgufInvalid } from '../errors.js';
import type { GgufFile } from './gguf-file.js';

const A_SIZE = 'a whole number from 1 to 2147483647';

/** Typed reading of a GGUF file's metadata; every error names the file and the key. */
export class GgufMetadata {
  constructor(private readonly file: Pick<GgufFile, 'path' | 'metadata'>) {}

  /** @throws GgufInvalid when the key is absent. */
  text(key: string): string {
    return this.required(key, this.optionalText(key), 'a text');
  }

  optionalText(key: string): string | undefined {
    return this.checked(key, (value): value is string => typeof value === 'string', 'a text');
  }

  /** @throws GgufInvalid when the key is absent. */
  count(key: string): number {
    return this.required(key, this.optionalCount(key), 'a whole number >= 0');
  }

  optionalCount(key: string): number | undefined {
    return this.checked(key, (value): value is number => typeof value === 'number' && Number.isSafeInteger(value) && value >= 0, 'a whole number >= 0');
  }

  /** A count of at least 1 that a configuration may state. @throws GgufInvalid when the key is absent. */
  size(key: string): number {
    return this.required(key, this.optionalSize(key), A_SIZE);
  }

  optionalSize(key: string): number | undefined {
    return this.checked(key, (value): value is number => typeof value === 'number' && Number.isInteger(value) && value >= 1 && value < 2 ** 31, A_SIZE);
  }

  /** The decimal number > 0 that was meant: the shortest that rounds to the stored float32. */
  optionalDecimal(key: string): number | undefined {
    const stored = this.checked(key, (value): value is number => typeof value === 'number' && value > 0 && Number.isFinite(value), 'a number > 0');
    return stored === undefined ? undefined : shortestDecimal(stored);
  }

  /** @throws GgufInvalid when the key is absent. */
  texts(key: string): readonly string[] {
    const isTexts = (value: unknown): value is readonly string[] => Array.isArray(value) && value.every((item) => typeof item === 'string');
    return this.required(key, this.checked(key, isTexts, 'a list of texts'), 'a list of texts');
  }

  /** @throws GgufInvalid when the key is absent. */
  numbers(key: string): readonly number[] {
    const isNumbers = (value: unknown): value is readonly number[] => Array.isArray(value) && value.every((item) => typeof item === 'number');
    return this.required(key, this.checked(key, isNumbers, 'a list of numbers'), 'a list of numbers');
  }

  flag(key: string, otherwise: 'yes' | 'no'): boolean {
    return this.checked(key, (value): value is boolean => typeof value === 'boolean', 'a truth value') ?? otherwise === 'yes';
  }

  /** An error that names the file. */
  invalid(problem: string): GgufInvalid {
    return new GgufInvalid(`${this.file.path}: ${problem}`);
  }

  private required<T>(key: string, value: T | undefined, kind: string): T {
    if (value === undefined) throw this.invalid(`metadata lacks ${key}, ${kind}`);
    return value;
  }

  private checked<T>(key: string, isKind: (value: unknown) => value is T, kind: string): T | undefined {
    const value: unknown = this.file.metadata.get(key);
    if (value === undefined || isKind(value)) return value;
    throw this.invalid(`${key} must be ${kind}`);
  }
}

function shortestDecimal(stored: number): number {
  for (let digits = 1; digits <= 9; digits++) {
    const candidate = Number(stored.toPrecision(digits));
    if (Math.fround(candidate) === Math.fround(stored)) return candidate;
  }
  return stored;
}

import type { z } from 'zod';
import { AppError } from '../common/errors.js';

/** A setting is unknown, malformed or missing; names each variable. */
export class SettingsInvalid extends AppError {
  readonly code = 'config.settings_invalid';
  readonly kind = 'invalid';
}

/**
 * Reads the variables that begin with `prefix`, each the name of a field in capitals (`LIMBECK_LEASE_MS` is `leaseMs`).
 * @throws SettingsInvalid listing every fault, unknown variables with the prefix included.
 */
export function fromEnvironment<Schema extends z.ZodType>(schema: Schema, { prefix, ignored = [] }: { prefix: string; ignored?: readonly string[] }): z.output<Schema> {
  const named = Object.entries(process.env).filter(([name]) => name.startsWith(prefix) && !ignored.some((other) => name.startsWith(other)));
  const parsed = schema.safeParse(Object.fromEntries(named.map(([name, value]) => [fieldOf(name, prefix), value])));
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.flatMap((issue) =>
    issue.code === 'unrecognized_keys' ? issue.keys.map((key) => `${variableOf(key, prefix)} is not a setting`) : [`${variableOf(String(issue.path[0]), prefix)}: ${issue.message}`],
  );
  throw new SettingsInvalid(`the process cannot start: ${faults.join('; ')}`);
}

/** The variables that hand settings to a process of its own; the inverse of `fromEnvironment`. */
export function toEnvironment(settings: Readonly<Record<string, unknown>>, prefix: string): Record<string, string> {
  const given = Object.entries(settings).filter(([, value]) => value !== undefined);
  return Object.fromEntries(given.map(([field, value]) => [variableOf(field, prefix), Array.isArray(value) ? value.join(',') : String(value)]));
}

function fieldOf(variable: string, prefix: string): string {
  return variable.slice(prefix.length).toLowerCase().replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());
}

function variableOf(field: string, prefix: string): string {
  return prefix + field.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase();
}

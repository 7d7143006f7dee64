import { z } from 'zod';
import { fromEnvironment } from './environment.js';

/** Where the commands that speak to a service find it, unless their options say. */
export const CliSettings = z.strictObject({
  /** `http://host:port`, without `/v1`. */
  url: z.url({ protocol: /^https?$/ }).optional(),
  /** An API key. */
  key: z.string().min(1).optional(),
  /** Data directory of a `limbeck up` on this machine. */
  data: z.string().min(1).optional(),
});
export type CliSettings = z.output<typeof CliSettings>;

/** Reads `LIMBECK_CLI_URL`, `LIMBECK_CLI_KEY` and `LIMBECK_CLI_DATA`. @throws SettingsInvalid */
export function cliSettings(): CliSettings {
  return fromEnvironment(CliSettings, { prefix: 'LIMBECK_CLI_' });
}

import { z } from 'zod';
import { fromEnvironment } from './environment.js';
import { ApiSettings } from './service-settings.js';

const { databaseUrl, masterKey } = ApiSettings.shape;
/** What `limbeck keys` takes from an API's environment; every other variable of it is left alone. */
const KeyStoreSettings = z.object({ databaseUrl: databaseUrl.optional(), masterKey: masterKey.optional() });
export type KeyStoreSettings = z.output<typeof KeyStoreSettings>;

/** `LIMBECK_DATABASE_URL` and `LIMBECK_MASTER_KEY`, where they are set. @throws SettingsInvalid */
export function keyStoreFromEnvironment(): KeyStoreSettings {
  return fromEnvironment(KeyStoreSettings, { prefix: 'LIMBECK_' });
}

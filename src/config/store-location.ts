import { z } from 'zod';
import { fromEnvironment } from './environment.js';
import { ApiSettings } from './service-settings.js';

const { databaseUrl, storeDir } = ApiSettings.shape;
/** What `limbeck gc` takes from an API's environment; every other variable of it is left alone. */
const StoreLocation = z.object({ databaseUrl: databaseUrl.optional(), storeDir: storeDir.optional() });
export type StoreLocation = z.output<typeof StoreLocation>;

/** `LIMBECK_DATABASE_URL` and `LIMBECK_STORE_DIR`, where they are set. @throws SettingsInvalid */
export function storeLocationFromEnvironment(): StoreLocation {
  return fromEnvironment(StoreLocation, { prefix: 'LIMBECK_' });
}

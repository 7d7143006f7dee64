import { AppError } from '../common/errors.js';

/** A server that Limbeck brings along did not start or did not stop. */
export class EmbeddedServerFailed extends AppError {
  readonly code = 'embedded.server_failed';
  readonly kind = 'unavailable';
}

/** No `redis-server` on this machine, and no other Redis was named. */
export class RedisMissing extends AppError {
  readonly code = 'embedded.redis_missing';
  readonly kind = 'missing';
  constructor() {
    super('there is no `redis-server` on the PATH: install it (`apt-get install -y --no-install-recommends redis-server`) or name another one in LIMBECK_REDIS_URL (redis://:password@host:port)');
  }
}

/** Another supervisor runs on the same data directory. */
export class DataDirectoryInUse extends AppError {
  readonly code = 'embedded.data_directory_in_use';
  readonly kind = 'conflict';
  constructor(dir: string) {
    super(`another \`limbeck up\` runs on ${dir}: stop it, or name another directory with --data`);
  }
}

import type { Figure } from '../figure.js';
import { measureJobs } from './jobs.js';
import { measureMetrics } from './metrics.js';
import { startBenchServers } from './servers.js';

/** What the service costs beside plain `pg` on the same Postgres, in turns, with its own pool size on both sides. @throws EmbeddedServerFailed, RedisMissing */
export async function measureService(onNotice: (line: string) => void): Promise<Figure[]> {
  const servers = await startBenchServers(onNotice);
  try {
    return [...(await measureJobs(servers)), ...(await measureMetrics(servers))];
  } finally {
    await servers.stop();
  }
}

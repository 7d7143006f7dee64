import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Inject, Injectable, type OnApplicationShutdown } from '@nestjs/common';
import type { WorkerSettings } from '../config/service-settings.js';
import { WORKER_SETTINGS } from '../config/tokens.js';
import { NodeRegistrar } from './node-registrar.js';
import { WorkerLife } from './worker-life.js';
import { WorkerMetrics } from './worker-metrics.js';

/** A worker whose heartbeats fail longer than this many of them is not ready. */
const HEARTBEATS = 3;

/** `GET /health/live`: the event loop turns. `GET /health/ready`: the worker takes stages and the database hears of it. `GET /metrics`: Prometheus's. Asks nobody, so it answers at once. */
@Injectable()
export class ProbeServer implements OnApplicationShutdown {
  private readonly server: Server = createServer((request, response) => void this.answer(request.url ?? '', response));

  constructor(
    private readonly node: NodeRegistrar,
    private readonly life: WorkerLife,
    private readonly metrics: WorkerMetrics,
    @Inject(WORKER_SETTINGS) private readonly settings: Pick<WorkerSettings, 'probeHost' | 'probePort' | 'heartbeatMs'>,
  ) {}

  /** @returns the port. */
  async listen(): Promise<number> {
    const { probeHost, probePort } = this.settings;
    await new Promise<void>((resolve, reject) => this.server.once('error', reject).listen(probePort, probeHost, resolve));
    return (this.server.address() as AddressInfo).port;
  }

  async onApplicationShutdown(): Promise<void> {
    if (!this.server.listening) return;
    this.server.closeAllConnections();
    await new Promise<void>((resolve) => this.server.close(() => resolve()));
  }

  private async answer(path: string, response: ServerResponse): Promise<void> {
    if (path === '/metrics') {
      const { body, contentType } = await this.metrics.text();
      response.writeHead(200, { 'content-type': contentType }).end(body);
      return;
    }
    if (path === '/health/live') return send(response, 200, { live: true });
    if (path !== '/health/ready') return send(response, 404, { error: 'GET /health/live, GET /health/ready and GET /metrics are all there is' });
    const database = this.node.silentMs <= HEARTBEATS * this.settings.heartbeatMs ? 'ok' : 'silent';
    const process = this.life.isDraining ? 'draining' : 'ok';
    const ready = database === 'ok' && process === 'ok';
    send(response, ready ? 200 : 503, { ready, parts: { process, database } });
  }
}

function send(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' }).end(JSON.stringify(body));
}

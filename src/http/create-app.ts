import 'reflect-metadata';
import { StandardSchemaValidationPipe, type Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { NestExpressApplication } from '@nestjs/platform-express';
import type { RequestHandler } from 'express';
import helmet from 'helmet';
import { Logger } from 'nestjs-pino';
import { requireAccessRules } from './access-rules.js';
import { ErrorFilter } from './error.filter.js';
import { HttpMetrics } from './http-metrics.js';
import { invalidRequest } from './invalid-request.js';
import { plainJson } from './plain-json.js';
import { nameRequest } from './request-id.js';
import { observeRequests } from './request-log.js';

/** What the frame around all routes is told. */
export interface FrameSettings {
  /** Largest JSON body, bytes. */
  readonly maxBodyBytes: number;
  /** Whether clients reach the process through TLS. */
  readonly behindTls: boolean;
}

/**
 * The application around the routes of a module that imports `loggingModule` and provides `HttpMetrics`: names requests, bounds and checks bodies,
 * validates by schema, answers errors in one shape, logs and measures. It does not listen yet.
 * @throws RouteWithoutRule when a route does not say who may call it.
 */
export async function createApp(module: Parameters<typeof NestFactory.create>[0], { maxBodyBytes, behindTls }: FrameSettings): Promise<NestExpressApplication> {
  const app = await NestFactory.create<NestExpressApplication>(module, { bodyParser: false, bufferLogs: true, forceCloseConnections: true, abortOnError: false });
  app.useLogger(app.get(Logger));
  requireAccessRules(app);
  app.disable('x-powered-by');
  app.disable('etag');
  app.set('query parser', 'extended'); // the OpenAI client writes filters as metadata[key]=value
  app.use(nameRequest, observeRequests(app.get<HttpMetrics>(HttpMetrics as Type<HttpMetrics>)), securityHeaders(behindTls));
  app.useBodyParser('json', { limit: maxBodyBytes });
  app.use(plainJson);
  app.useGlobalPipes(new StandardSchemaValidationPipe({ exceptionFactory: invalidRequest }));
  app.useGlobalFilters(new ErrorFilter(maxBodyBytes));
  return app;
}

/** Beside helmet's defaults: pages load nothing from elsewhere, not even the fonts that the board of queues would like. */
const OWN_PAGES = { 'frame-ancestors': ["'none'"], 'style-src': ["'self'", "'unsafe-inline'"], 'font-src': ["'self'", 'data:'] };

/** Nothing of ours is framed, cached, or read by another origin's page; there is no CORS. */
function securityHeaders(behindTls: boolean): RequestHandler {
  const protect = helmet({
    contentSecurityPolicy: { directives: { ...OWN_PAGES, 'upgrade-insecure-requests': behindTls ? [] : null } },
    strictTransportSecurity: behindTls,
    frameguard: { action: 'deny' },
  });
  return (request, response, next): void => {
    response.set('cache-control', 'no-store');
    protect(request, response, next);
  };
}

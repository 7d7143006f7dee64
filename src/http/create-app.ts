import 'reflect-metadata';
import { StandardSchemaValidationPipe, type Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { NestExpressApplication } from '@nestjs/platform-express';
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
}

/**
 * The application around the routes of a module that imports `loggingModule` and provides `HttpMetrics`: names requests, bounds and checks bodies,
 * validates by schema, answers errors in one shape, logs and measures. It does not listen yet.
 * @throws RouteWithoutRule when a route does not say who may call it.
 */
export async function createApp(module: Parameters<typeof NestFactory.create>[0], { maxBodyBytes }: FrameSettings): Promise<NestExpressApplication> {
  const app = await NestFactory.create<NestExpressApplication>(module, { bodyParser: false, bufferLogs: true, forceCloseConnections: true, abortOnError: false });
  app.useLogger(app.get(Logger));
  requireAccessRules(app);
  app.disable('x-powered-by');
  app.disable('etag');
  app.set('query parser', 'extended'); // the OpenAI client writes filters as metadata[key]=value
  app.use(nameRequest, observeRequests(app.get<HttpMetrics>(HttpMetrics as Type<HttpMetrics>)), securityHeaders());
  app.useBodyParser('json', { limit: maxBodyBytes });
  app.use(plainJson);
  app.useGlobalPipes(new StandardSchemaValidationPipe({ exceptionFactory: invalidRequest }));
  app.useGlobalFilters(new ErrorFilter());
  return app;
}

function securityHeaders(): Parameters<NestExpressApplication['use']>[0] {
  const protect = helmet({ crossOriginResourcePolicy: { policy: 'same-origin' }, referrerPolicy: { policy: 'no-referrer' } });
  return (request: Parameters<typeof protect>[0], response: Parameters<typeof protect>[1], next: (error?: unknown) => void): void => {
    response.setHeader('cache-control', 'no-store');
    protect(request, response, next);
  };
}

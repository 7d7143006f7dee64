import { Logger } from '@nestjs/common';
import type { NextFunction, Request, RequestHandler, Response } from 'express';
import type { HttpMetrics } from './http-metrics.js';
import { requestIdOf } from './request-id.js';

const RUN_ID = /^ftjob-[0-9A-Za-z]{24}$/;
const NOT_ROUTED = 'none';

/** Tells log and metrics the end of every request: never its headers, query or body. */
export function observeRequests(metrics: HttpMetrics): RequestHandler {
  const logger = new Logger('Request');
  return (request: Request, response: Response, next: NextFunction): void => {
    const start = process.hrtime.bigint();
    response.once('close', () => {
      const seconds = Number(process.hrtime.bigint() - start) / 1e9;
      const route = routeOf(request);
      const status = response.writableFinished ? response.statusCode : 499; // the client went away first
      metrics.observe({ method: request.method, route, status, seconds });
      logger.log({ request_id: requestIdOf(request), ...runOf(request), method: request.method, route, path: request.path, status, milliseconds: Math.round(seconds * 1e3) }, 'request');
    });
    next();
  };
}

/** The route's template, as `/v1/files/:id`: few enough to label metrics. */
function routeOf(request: Request): string {
  const route: unknown = request.route;
  return typeof route === 'object' && route !== null && 'path' in route ? String(route.path) : NOT_ROUTED;
}

function runOf({ params }: Request): { run_id?: string } {
  const run = Object.values(params ?? {}).find((value) => typeof value === 'string' && RUN_ID.test(value));
  return typeof run === 'string' ? { run_id: run } : {};
}

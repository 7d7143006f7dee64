import type { DynamicModule } from '@nestjs/common';
import { LoggerModule } from 'nestjs-pino';
import pino from 'pino';
import { limbeckVersion } from '../common/version.js';
import { requestIdOf } from './request-id.js';

/** Fields whose values never reach a log, wherever an object that holds them is logged. */
const SECRET_FIELDS = ['authorization', 'apiKey', 'api_key', 'masterKey', 'databaseUrl', 'redisUrl', 'password', 'cookie'];
const SECRETS = SECRET_FIELDS.flatMap((field) => [field, `*.${field}`, `*.*.${field}`]);

export interface LogSettings {
  readonly level: string;
  /** `api` or `worker`. */
  readonly service: string;
}

/** Options of every log of ours: one JSON object a line, so that no value can forge another line; UTC times. */
export function logOptions({ level, service }: LogSettings): pino.LoggerOptions {
  return {
    level,
    base: { service, version: limbeckVersion(), pid: process.pid },
    messageKey: 'message',
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
    formatters: { level: (label) => ({ level: label }) },
    redact: { paths: SECRETS, censor: '[redacted]' },
  };
}

/** Nest's logger as JSON lines on standard output; what is logged while a request is served carries its `request_id`. */
export function loggingModule(settings: LogSettings): DynamicModule {
  return LoggerModule.forRoot({
    pinoHttp: {
      ...logOptions(settings),
      autoLogging: false, // request-log.ts tells the end of a request, those refused before routing included
      genReqId: requestIdOf,
      quietReqLogger: true,
      wrapSerializers: false,
      serializers: { req: () => undefined }, // pino-http would write every request down, headers included, for a log that nobody asks for
      customAttributeKeys: { reqId: 'request_id' },
    },
  });
}

import 'reflect-metadata';
import type { AddressInfo } from 'node:net';
import { ConsoleLogger, StandardSchemaValidationPipe } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { parseTeacherSettings, type TeacherSettings, type TeacherSettingsInput } from '../config/teacher-settings.js';
import { ApiKey } from './api-key.guard.js';
import { TeacherCounters } from './counters.js';
import { DialectErrorFilter } from './dialect-error.filter.js';
import { ensureTeacherFile } from './onnx/teacher-file.js';
import { startProcess, startThread } from './remote.js';
import { RemoteRuntime } from './remote-runtime.js';
import type { RuntimeOptions } from './runtime-options.js';
import type { TeacherRuntime } from './runtime.js';
import { Scheduler } from './scheduler.js';
import { ServedModel } from './served-model.js';
import { RequestRefused } from './teacher-server.errors.js';
import { TeacherModule } from './teacher.module.js';

/** A teacher server that listens. */
export interface TeacherServer {
  /** `http://host:port`, without a path. */
  readonly url: string;
  readonly port: number;
  /** Takes no more requests, lets those at work finish for as long as the settings allow, and frees the model. */
  close(): Promise<void>;
}

/** What a test puts in place of the real thing. */
export interface TeacherServerParts {
  readonly openRuntime: (options: RuntimeOptions) => Promise<TeacherRuntime>;
  /** Is told what takes long at the start. */
  readonly onNotice: (message: string) => void;
}

const DEFAULT_PARTS: TeacherServerParts = { openRuntime, onNotice: () => {} };

/**
 * Serves a model directory in vLLM's dialect.
 * @throws TeacherSettingsInvalid; the refusals of the model directory; RuntimeFailed when the model cannot be loaded; the system's error when the port is taken.
 */
export async function startTeacherServer(input: TeacherSettingsInput, given: Partial<TeacherServerParts> = {}): Promise<TeacherServer> {
  const parts = { ...DEFAULT_PARTS, ...given };
  const settings = parseTeacherSettings(input);
  const model = await ServedModel.open(settings);
  const runtime = await parts.openRuntime(await runtimeOptions(settings, model, parts.onNotice));
  const counters = new TeacherCounters();
  const scheduler = new Scheduler({ ...settings, runtime, counters, vocabSize: model.config.vocabSize });
  const limits = { maxLogprobs: Math.min(settings.maxLogprobs, model.config.vocabSize), maxSequences: settings.queueLimit };
  try {
    const app = await createApp(settings, TeacherModule.of({ model, scheduler, counters, apiKey: new ApiKey(settings.apiKey), limits }));
    const port = await listen(app, settings);
    return { url: `http://${settings.host.includes(':') ? `[${settings.host}]` : settings.host}:${port}`, port, close: () => close(app, { scheduler, runtime, settings }) };
  } catch (error) {
    await runtime.close();
    throw error;
  }
}

async function runtimeOptions({ runtime, modelDir, threads }: TeacherSettings, { config, maxLength }: ServedModel, onNotice: (message: string) => void): Promise<RuntimeOptions> {
  if (runtime === 'native') return { runtime, modelDir, threads, maxLength };
  const { layers, kvHeads, headDim, maxPositions, vocabSize } = config;
  return { runtime, modelPath: await ensureTeacherFile(modelDir, onNotice), threads, cache: { layers, kvHeads, headDim }, vocabSize, maxPositions };
}

/** A thread for onnxruntime, which may be loaded many times; a process for the native operations, of which a process has one set. */
function openRuntime(options: RuntimeOptions): Promise<TeacherRuntime> {
  const entry = (path: string): URL => new URL(path, import.meta.url);
  const remote = options.runtime === 'native' ? startProcess(entry('./native/native-process.js'), options.threads) : startThread(entry('./onnx/onnx-worker.js'));
  return RemoteRuntime.open(remote, options);
}

async function createApp(settings: TeacherSettings, module: ReturnType<typeof TeacherModule.of>): Promise<NestExpressApplication> {
  const app = await NestFactory.create<NestExpressApplication>(module, {
    logger: new ConsoleLogger({ logLevels: ['error', 'warn'] }),
    bodyParser: false,
    forceCloseConnections: true,
    abortOnError: false,
  });
  app.useBodyParser('json', { limit: settings.maxBodyBytes });
  app.useGlobalPipes(new StandardSchemaValidationPipe({ exceptionFactory: refusalOf }));
  app.useGlobalFilters(new DialectErrorFilter());
  app.disable('x-powered-by');
  app.disable('etag');
  return app;
}

async function listen(app: NestExpressApplication, { host, port }: TeacherSettings): Promise<number> {
  const server = await app.listen(port, host);
  const address: AddressInfo | string | null = server.address();
  return typeof address === 'object' && address ? address.port : port;
}

interface Running {
  readonly scheduler: Scheduler;
  readonly runtime: TeacherRuntime;
  readonly settings: TeacherSettings;
}

async function close(app: NestExpressApplication, { scheduler, runtime, settings }: Running): Promise<void> {
  await scheduler.stop(settings.shutdownGraceMs);
  await app.close();
  await runtime.close();
}

interface Issue {
  readonly message: string;
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[];
}

function refusalOf(issues: readonly Issue[]): RequestRefused {
  const named = issues.map(({ path = [], message }) => ({ field: path.map((step) => String(typeof step === 'object' ? step.key : step)), message }));
  const words = named.map(({ field, message }) => (field.length > 0 ? `${field.join('.')}: ${message}` : message));
  return new RequestRefused(words.join('; '), named[0]?.field[0] ?? null, 'Bad Request');
}

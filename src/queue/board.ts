import { createBullBoard } from '@bull-board/api';
import { BullAdapter } from '@bull-board/api/bullAdapter';
import { ExpressAdapter } from '@bull-board/express';
import { getQueueToken } from '@nestjs/bull';
import type { NestExpressApplication } from '@nestjs/platform-express';
import type { Queue } from 'bull';
import type { RequestHandler } from 'express';
import { QUEUES } from './queue-names.js';

const PATH = '/queues';

/** Shows the queues as they are in Redis, to look at only. @param login decides who may look */
export function serveBoard(app: NestExpressApplication, login: RequestHandler): void {
  const serverAdapter = new ExpressAdapter().setBasePath(PATH);
  const queues = QUEUES.map((name) => new BullAdapter(app.get<Queue>(getQueueToken(name)), { readOnlyMode: true }));
  createBullBoard({ queues, serverAdapter, options: { uiConfig: { boardTitle: 'Limbeck' } } });
  app.use(PATH, login, serverAdapter.getRouter() as RequestHandler);
}

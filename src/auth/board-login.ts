import type { RequestHandler } from 'express';
import { AppError } from '../common/errors.js';
import { answer } from '../http/error.filter.js';
import { allows } from '../http/scopes.js';
import { ScopeMissing } from './auth.errors.js';
import type { AuthService } from './auth.service.js';

const BASIC = /^Basic +([A-Za-z0-9+/=]+) *$/i;

/** Lets whoever looks at pages with a browser in by HTTP Basic: any name, an admin key as the password. Nothing can be changed this way. */
export function boardLogin(auth: AuthService): RequestHandler {
  return (request, response, next): void => {
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      response.status(405).set('allow', 'GET, HEAD').end();
      return;
    }
    const refuse = (error: unknown): void => {
      if (!(error instanceof AppError)) return next(error);
      answer(response, error);
    };
    requireAdmin(auth, request.headers.authorization).then(() => next(), (error: unknown) => {
      response.set('www-authenticate', 'Basic realm="Limbeck: an admin API key as the password"');
      refuse(error);
    });
  };
}

async function requireAdmin(auth: AuthService, header: string | undefined): Promise<void> {
  const credentials = Buffer.from(BASIC.exec(header ?? '')?.[1] ?? '', 'base64').toString();
  const { scopes } = await auth.callerOf(credentials.slice(credentials.indexOf(':') + 1));
  if (!allows(scopes, 'admin')) throw new ScopeMissing('admin');
}

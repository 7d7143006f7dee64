import { Injectable, type CanActivate, type ExecutionContext } from '@nestjs/common';
import type { Request } from 'express';
import { isBearer } from '../http/bearer.js';
import { KeyRefused } from './teacher-server.errors.js';

/** The key that clients must send. */
export class ApiKey {
  constructor(readonly value: string | undefined) {}
}

/** Lets a request pass that carries the server's key; every request when there is none. */
@Injectable()
export class ApiKeyGuard implements CanActivate {
  constructor(private readonly key: ApiKey) {}

  canActivate(context: ExecutionContext): boolean {
    const { authorization } = context.switchToHttp().getRequest<Request>().headers;
    if (this.key.value === undefined || isBearer(authorization, this.key.value)) return true;
    throw new KeyRefused();
  }
}

import { Injectable, type CanActivate, type ExecutionContext } from '@nestjs/common';
import { Reflector } from '@nestjs/core';
import { ruleOf } from '../http/access-rules.js';
import type { CalledRequest } from '../http/caller.js';
import { RouteWithoutRule } from '../http/http.errors.js';
import { allows } from '../http/scopes.js';
import { ScopeMissing } from './auth.errors.js';
import { AuthService } from './auth.service.js';

const BEARER = /^Bearer +(\S+) *$/i;

/** Lets a request pass whose key has the scopes that its route asks for. */
@Injectable()
export class AccessGuard implements CanActivate {
  constructor(
    private readonly auth: AuthService,
    private readonly reflector: Reflector,
  ) {}

  async canActivate(context: ExecutionContext): Promise<true> {
    const rule = ruleOf(this.reflector, context.getHandler(), context.getClass());
    if (!rule) throw new RouteWithoutRule([context.getClass().name]);
    if (rule.needs === 'nothing') return true;
    const request = context.switchToHttp().getRequest<CalledRequest>();
    request.caller = await this.auth.callerOf(BEARER.exec(request.headers.authorization ?? '')?.[1]);
    const missing = rule.scopes.find((scope) => !allows(request.caller.scopes, scope));
    if (missing) throw new ScopeMissing(missing);
    return true;
  }
}

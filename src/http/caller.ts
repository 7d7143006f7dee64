import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import type { Request } from 'express';
import type { Scope } from './scopes.js';

/** Who asks: the API key that the request carried. */
export interface Caller {
  /** `key-…` */
  readonly keyId: string;
  readonly scopes: readonly Scope[];
}

/** A request after the guard let it pass. */
export type CalledRequest = Request & { caller: Caller };

/** Gives a handler its caller: `@Caller() caller: Caller`. Only on routes that need a key. */
export const Caller = createParamDecorator((_: unknown, context: ExecutionContext): Caller => context.switchToHttp().getRequest<CalledRequest>().caller);

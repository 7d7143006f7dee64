import { applyDecorators, SetMetadata } from '@nestjs/common';
import { ApiSecurity } from '@nestjs/swagger';

/** What an API key may be allowed to do. `admin` may do everything. */
export const SCOPES = [
  'jobs:read',
  'jobs:write',
  'files:read',
  'files:write',
  'models:read',
  'models:write',
  'teachers:read',
  'teachers:write',
  'nodes:read',
  'admin',
] as const;
export type Scope = (typeof SCOPES)[number];

/** What a route asks of its caller: a scope, or nothing at all. */
export type AccessRule = { readonly needs: 'key'; readonly scopes: readonly Scope[] } | { readonly needs: 'nothing' };

/** Metadata key of a route's rule, on its method or on its controller. */
export const ACCESS_RULE = 'limbeck:access-rule';
/** Name of the security scheme in the OpenAPI document. */
export const SECURITY_SCHEME = 'api_key';

/** The route is for keys that have every one of these scopes. A route without a rule keeps the service from starting. */
export function Scopes(first: Scope, ...others: Scope[]): MethodDecorator & ClassDecorator {
  const scopes = [first, ...others];
  return applyDecorators(SetMetadata<string, AccessRule>(ACCESS_RULE, { needs: 'key', scopes }), ApiSecurity(SECURITY_SCHEME, scopes));
}

/** The route answers anybody: probes, and the documentation. */
export function Open(): MethodDecorator & ClassDecorator {
  return SetMetadata<string, AccessRule>(ACCESS_RULE, { needs: 'nothing' });
}

/** Whether a key with these scopes may do what needs `wanted`. */
export function allows(scopes: readonly Scope[], wanted: Scope): boolean {
  return scopes.includes(wanted) || scopes.includes('admin');
}

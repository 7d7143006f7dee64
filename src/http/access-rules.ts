import type { INestApplication, Type } from '@nestjs/common';
import { METHOD_METADATA, PATH_METADATA } from '@nestjs/common/constants.js';
import { MetadataScanner, ModulesContainer, Reflector } from '@nestjs/core';
import { RouteWithoutRule } from './http.errors.js';
import { ACCESS_RULE, type AccessRule } from './scopes.js';

/** The rule of a route: its method's, else its controller's. */
export function ruleOf(reflector: Reflector, handler: object, controller: object): AccessRule | undefined {
  return reflector.getAllAndOverride<AccessRule | undefined>(ACCESS_RULE, [handler as Type, controller as Type]);
}

/** @throws RouteWithoutRule naming every route that does not say who may call it. */
export function requireAccessRules(app: INestApplication): void {
  const scanner = new MetadataScanner();
  const reflector = new Reflector();
  const controllers = [...app.get(ModulesContainer).values()].flatMap((module) => [...module.controllers.values()].map(({ metatype }) => metatype));
  const without = controllers.flatMap((controller) => {
    if (typeof controller !== 'function') return [];
    const prototype = controller.prototype as Record<string, object>;
    const routes = scanner.getAllMethodNames(prototype).filter((name) => Reflect.hasMetadata(METHOD_METADATA, prototype[name]));
    return routes.filter((name) => !ruleOf(reflector, prototype[name], controller)).map((name) => `${controller.name}.${name} (${String(Reflect.getMetadata(PATH_METADATA, controller))})`);
  });
  if (without.length > 0) throw new RouteWithoutRule(without);
}

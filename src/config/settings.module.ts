import { Global, Module, type DynamicModule } from '@nestjs/common';

/** Gives every module of a process its settings, under `API_SETTINGS` or `WORKER_SETTINGS`. */
@Global()
@Module({})
export class SettingsModule {
  static of(token: symbol, settings: object): DynamicModule {
    return { module: SettingsModule, providers: [{ provide: token, useValue: settings }], exports: [token] };
  }
}

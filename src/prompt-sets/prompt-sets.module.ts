import { Module } from '@nestjs/common';
import { MulterModule } from '@nestjs/platform-express';
import type { ApiSettings } from '../config/service-settings.js';
import { API_SETTINGS } from '../config/tokens.js';
import { Database } from '../database/database.js';
import { PromptSetsController } from './prompt-sets.controller.js';
import { PromptSetService } from './prompt-sets.service.js';
import { PromptUploadService } from './prompt-upload.service.js';
import { PromptUploadStorage } from './prompt-upload.storage.js';

/** A multipart body of ours has one file and its purpose. */
const PARTS = { files: 1, fields: 8, parts: 9, fieldSize: 1024, fieldNameSize: 64 };

@Module({
  providers: [
    { provide: PromptSetService, inject: [Database, API_SETTINGS], useFactory: (database: Database, settings: ApiSettings) => new PromptSetService(database, settings) },
    {
      provide: PromptUploadStorage,
      inject: [PromptSetService, API_SETTINGS],
      useFactory: (promptSets: PromptSetService, settings: ApiSettings) => new PromptUploadStorage(new PromptUploadService(settings, settings), promptSets),
    },
  ],
  exports: [PromptSetService, PromptUploadStorage],
})
class PromptSetServicesModule {}

/** `/v1/files`. */
@Module({
  imports: [
    PromptSetServicesModule,
    MulterModule.registerAsync({
      imports: [PromptSetServicesModule],
      inject: [PromptUploadStorage],
      useFactory: (storage: PromptUploadStorage) => ({ storage, limits: PARTS, defParamCharset: 'utf8' }),
    }),
  ],
  controllers: [PromptSetsController],
  exports: [PromptSetServicesModule],
})
export class PromptSetsModule {}

import { Module } from '@nestjs/common';
import { MulterModule } from '@nestjs/platform-express';
import { PromptSetsController } from './prompt-sets.controller.js';
import { PromptSetService } from './prompt-sets.service.js';
import { PromptUploadService } from './prompt-upload.service.js';
import { PromptUploadStorage } from './prompt-upload.storage.js';

/** A multipart body of ours has one file and its purpose. */
const PARTS = { files: 1, fields: 8, parts: 9, fieldSize: 1024, fieldNameSize: 64 };

/** The part of the feature that workers need too. */
@Module({ providers: [PromptSetService, PromptUploadService, PromptUploadStorage], exports: [PromptSetService, PromptUploadStorage] })
class PromptUploadsModule {}

/** `/v1/files`. Expects Database, StoreSettings and UploadLimits from a global module. */
@Module({
  imports: [
    PromptUploadsModule,
    MulterModule.registerAsync({
      imports: [PromptUploadsModule],
      inject: [PromptUploadStorage],
      useFactory: (storage: PromptUploadStorage) => ({ storage, limits: PARTS, defParamCharset: 'utf8' }),
    }),
  ],
  controllers: [PromptSetsController],
  exports: [PromptUploadsModule],
})
export class PromptSetsModule {}

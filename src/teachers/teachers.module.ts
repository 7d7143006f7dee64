import { Module } from '@nestjs/common';
import type { ApiSettings } from '../config/service-settings.js';
import { API_SETTINGS } from '../config/tokens.js';
import { Database } from '../database/database.js';
import { TeacherService } from './teacher.service.js';
import { TeachersController } from './teachers.controller.js';

/** Registered teachers, and the policy of how they are reached. */
@Module({
  controllers: [TeachersController],
  providers: [{ provide: TeacherService, inject: [Database, API_SETTINGS], useFactory: (database: Database, settings: ApiSettings) => new TeacherService(database, settings) }],
  exports: [TeacherService],
})
export class TeachersModule {}

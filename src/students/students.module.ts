import { Module } from '@nestjs/common';
import type { ApiSettings } from '../config/service-settings.js';
import { API_SETTINGS } from '../config/tokens.js';
import { Database } from '../database/database.js';
import { StudentFilesController } from './student-files.controller.js';
import { StudentUploadService } from './student-upload.service.js';
import { StudentsController } from './students.controller.js';
import { StudentService } from './students.service.js';

/** `/v1/models`. */
@Module({
  controllers: [StudentsController, StudentFilesController],
  providers: [
    { provide: StudentService, inject: [Database, API_SETTINGS], useFactory: (database: Database, settings: ApiSettings) => new StudentService(database, settings) },
    { provide: StudentUploadService, inject: [StudentService, API_SETTINGS], useFactory: (students: StudentService, settings: ApiSettings) => new StudentUploadService(students, settings) },
  ],
  exports: [StudentService],
})
export class StudentsModule {}

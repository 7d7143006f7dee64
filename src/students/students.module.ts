import { Module } from '@nestjs/common';
import type { ApiSettings } from '../config/service-settings.js';
import { API_SETTINGS } from '../config/tokens.js';
import { Database } from '../database/database.js';
import { StudentFilesController } from './student-files.controller.js';
import { INSPECTION_ENTRY, StudentInspection } from './student-inspection.js';
import { StudentUploadService } from './student-upload.service.js';
import { StudentsController } from './students.controller.js';
import { StudentService } from './students.service.js';

/** `/v1/models`. */
@Module({
  controllers: [StudentsController, StudentFilesController],
  providers: [
    { provide: StudentService, inject: [Database, API_SETTINGS], useFactory: (database: Database, settings: ApiSettings) => new StudentService(database, settings) },
    { provide: StudentInspection, inject: [API_SETTINGS, { token: INSPECTION_ENTRY, optional: true }], useFactory: ({ inspectModelMs }: ApiSettings, entry?: string) => new StudentInspection(inspectModelMs, entry) },
    {
      provide: StudentUploadService,
      inject: [StudentService, StudentInspection, API_SETTINGS],
      useFactory: (students: StudentService, inspection: StudentInspection, settings: ApiSettings) => new StudentUploadService(students, inspection, settings),
    },
  ],
  exports: [StudentService],
})
export class StudentsModule {}

import { AppError } from '../common/errors.js';

/** No teacher has this id. */
export class TeacherNotFound extends AppError {
  readonly code = 'teachers.not_found';
  readonly kind = 'missing';
  constructor(readonly teacherId: string) {
    super(`there is no teacher ${teacherId}; GET /v1/teachers lists them`);
  }
}

/** Another teacher has the name already. */
export class TeacherNameTaken extends AppError {
  readonly code = 'teachers.name_taken';
  readonly kind = 'conflict';
  constructor(name: string) {
    super(`a teacher named ${name} is registered already; take another name, or delete that one first`, { param: 'name' });
  }
}

/** Runs name the teacher, so it must stay. */
export class TeacherInUse extends AppError {
  readonly code = 'teachers.in_use';
  readonly kind = 'conflict';
  constructor(teacherId: string) {
    super(`runs use the teacher ${teacherId}; delete those jobs first`);
  }
}

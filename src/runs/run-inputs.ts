import type { ServiceSpec } from '../distillation/spec.js';
import { JobInputUnknown } from './runs.errors.js';

/** The fields of a spec that name something registered, in the order in which they are looked at. */
export type InputField = 'model' | 'training_file' | 'validation_file' | 'teacher';

/** The refusal of a job that names something which does not exist. */
export function inputUnknown(field: InputField, { model, method, ...files }: ServiceSpec): JobInputUnknown {
  switch (field) {
    case 'model':
      return new JobInputUnknown('jobs.model_unknown', { param: field, id: model, where: 'GET /v1/models lists the students there are' });
    case 'teacher':
      return new JobInputUnknown('jobs.teacher_unknown', { param: 'method.distillation.teacher', id: method.distillation.teacher, where: 'GET /v1/teachers lists those there are' });
    default:
      return new JobInputUnknown('jobs.file_unknown', { param: field, id: files[field], where: 'GET /v1/files lists those there are' });
  }
}

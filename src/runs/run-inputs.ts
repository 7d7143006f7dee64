import { Injectable } from '@nestjs/common';
import { limbeckVersion } from '../common/version.js';
import type { Tx } from '../database/database.js';
import { JobInputUnknown } from './runs.errors.js';
import { RunsRepository, type NamedInputs } from './runs.repository.js';
import type { RunLineage } from './runs.rows.js';

const VERSION = limbeckVersion();

/** Looks up what a job names; the rows' foreign keys hold them from then on. */
@Injectable()
export class RunInputs {
  constructor(private readonly repository: RunsRepository) {}

  /** @returns what the job is made from. @throws JobInputUnknown */
  async check(tx: Tx, named: NamedInputs, hash: string): Promise<RunLineage> {
    const { model, trainingFile, validationFile, teacherId } = named;
    const found = await this.repository.inputs(tx, named);
    if (found.model === null) throw new JobInputUnknown('jobs.model_unknown', { param: 'model', id: model, where: 'GET /v1/models lists the students there are' });
    if (found.training === null) throw fileUnknown('training_file', trainingFile);
    if (found.validation === null) throw fileUnknown('validation_file', validationFile);
    if (found.teacher === null) {
      throw new JobInputUnknown('jobs.teacher_unknown', { param: 'method.distillation.teacher', id: teacherId, where: 'GET /v1/teachers lists those there are' });
    }
    return {
      base_model: found.model,
      training_sha256: found.training,
      validation_sha256: found.validation,
      teacher: found.teacher,
      spec_hash: hash,
      limbeck_version: VERSION,
    };
  }
}

function fileUnknown(param: string, id: string): JobInputUnknown {
  return new JobInputUnknown('jobs.file_unknown', { param, id, where: 'GET /v1/files lists those there are' });
}

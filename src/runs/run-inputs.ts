import { Injectable } from '@nestjs/common';
import { limbeckVersion } from '../common/version.js';
import { rowsOf, type Tx } from '../database/database.js';
import { JobInputUnknown } from './runs.errors.js';
import type { RunLineage } from './runs.rows.js';

/** The registered things that a job names. */
export interface NamedInputs {
  readonly model: string;
  readonly trainingFile: string;
  readonly validationFile: string;
  readonly teacherId: string;
}

interface Found {
  readonly model: string | null;
  readonly training: string | null;
  readonly validation: string | null;
  readonly teacher: RunLineage['teacher'] | null;
}

/** Looks up what a job names, in one statement; the rows' foreign keys hold them from then on. */
@Injectable()
export class RunInputs {
  /** @returns what the job is made from. @throws JobInputUnknown */
  async check(tx: Tx, { model, trainingFile, validationFile, teacherId }: NamedInputs, hash: string): Promise<RunLineage> {
    const [found] = await rowsOf<Found>(
      tx,
      `select (select name from models where name = $1) as model,
              (select sha256 from files where id = $2) as training,
              (select sha256 from files where id = $3) as validation,
              (select jsonb_build_object('id', id, 'name', name, 'model', model, 'dialect', dialect) from teachers where id = $4) as teacher`,
      [model, trainingFile, validationFile, teacherId],
    );
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
      limbeck_version: limbeckVersion(),
    };
  }
}

function fileUnknown(param: string, id: string): JobInputUnknown {
  return new JobInputUnknown('jobs.file_unknown', { param, id, where: 'GET /v1/files lists those there are' });
}

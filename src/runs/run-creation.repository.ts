import { Injectable } from '@nestjs/common';
import { rowsOf, type Tx } from '../database/database.js';
import { prepared } from '../database/prepared.js';
import type { ServiceSpec } from '../distillation/spec.js';
import { entriesSent, RUN_CHANGED, selectEntries, type FeedEntry } from './run-feed.service.js';
import type { InputField } from './run-inputs.js';
import { NEW_STAGE_COLUMNS, RUN_COLUMNS } from './runs.repository.js';
import type { RunRow, StageRow } from './runs.rows.js';

/** A run to be written, with all that belongs to it from the first. */
export interface NewRun {
  readonly id: string;
  readonly createdBy: string;
  readonly spec: ServiceSpec;
  readonly specHash: string;
  /** Of Limbeck. */
  readonly version: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly dryRun: boolean;
  /** In order; the first waits for a worker, the others for the one before. */
  readonly stages: readonly NewStage[];
  readonly entries: readonly FeedEntry[];
}

export interface NewStage {
  readonly name: string;
  readonly queue: 'collect' | 'device';
}

/** What was written, the stages in order; or nothing, because the first of the inputs that do not exist is `missing`. */
export type CreatedRun = { readonly missing: null; readonly run: RunRow; readonly stages: readonly StageRow[] } | { readonly missing: InputField; readonly run: null; readonly stages: null };

/** One journey to the database: the inputs are looked up and the run written as of one moment, and foreign keys hold the inputs from then on. */
const CREATE = prepared('create_run', `
  with input as (select (select name from models where name = $3) as model,
                        (select sha256 from files where id = $4) as training,
                        (select sha256 from files where id = $5) as validation,
                        (select jsonb_build_object('id', id, 'name', name, 'model', model, 'dialect', dialect) from teachers where id = $6) as teacher),
       found as (select *, case when model is null then 'model' when training is null then 'training_file'
                                when validation is null then 'validation_file' when teacher is null then 'teacher' end as missing from input),
       run as (insert into runs (id, created_by, status, model, training_file, validation_file, teacher_id, suffix, seed, spec, spec_hash, lineage, metadata, dry_run, seq)
               select $1, $2, 'validating_files', $3, $4, $5, $6, $7, $8::int8, $9::jsonb, $10,
                      jsonb_build_object('base_model', model, 'training_sha256', training, 'validation_sha256', validation, 'teacher', teacher,
                                         'spec_hash', $10::text, 'limbeck_version', $11::text),
                      $12::jsonb, $13::boolean, jsonb_array_length($16::jsonb)
               from found where missing is null
               returning ${RUN_COLUMNS}),
       stage as (insert into stages (run_id, name, ordinal, queue, status)
                 select run.id, name, ordinal, queue, case when ordinal = 1 then 'waiting' else 'blocked' end
                 from run, unnest($14::text[], $15::text[]) with ordinality as step(name, queue, ordinal) order by ordinal
                 returning ${NEW_STAGE_COLUMNS}),
       entry as (insert into events (run_id, seq, kind, level, type, message, data)
                 select run.id, place, kind, level, type, message, data from run, (${selectEntries('$16')}) as told)
  select missing, row_to_json(run) as run, (select json_agg(stage order by stage.id) from stage) as stages, (select pg_notify('${RUN_CHANGED}', id) from run)
    from found left join run on true`);

/** The statement that writes a new run. */
@Injectable()
export class RunCreationRepository {
  /** Writes a run, its stages and the first entries of its feed, and wakes the readers at commit; nothing when an input is missing. */
  async create(tx: Tx, { id, createdBy, spec, specHash, version, metadata, dryRun, stages, entries }: NewRun): Promise<CreatedRun> {
    const [created] = await rowsOf<CreatedRun>(tx, CREATE, [
      id,
      createdBy,
      spec.model,
      spec.training_file,
      spec.validation_file,
      spec.method.distillation.teacher,
      spec.suffix,
      spec.seed,
      JSON.stringify(spec),
      specHash,
      version,
      JSON.stringify(metadata),
      dryRun,
      stages.map(({ name }) => name),
      stages.map(({ queue }) => queue),
      entriesSent(entries),
    ]);
    return created;
  }
}

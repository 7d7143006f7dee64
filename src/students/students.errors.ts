import { AppError } from '../common/errors.js';

/** There is no model of this name. */
export class ModelUnknown extends AppError {
  readonly code = 'models.unknown';
  readonly kind = 'missing';
  constructor(name: string, param: string | null = null) {
    super(`there is no model ${JSON.stringify(name)}; GET /v1/models lists those there are`, { param });
  }
}

/** The model has no such file. */
export class ModelFileUnknown extends AppError {
  readonly code = 'models.file_unknown';
  readonly kind = 'missing';
  constructor(name: string, file: string) {
    super(`model ${name} has no file ${JSON.stringify(file)}; GET /v1/models/${name} lists its files`);
  }
}

/** A name that no model can have. */
export class ModelNameInvalid extends AppError {
  readonly code = 'models.name_invalid';
  readonly kind = 'invalid';
}

/** The name belongs to a model already. */
export class ModelNameTaken extends AppError {
  readonly code = 'models.name_taken';
  readonly kind = 'conflict';
  constructor(name: string) {
    super(`there is a model ${JSON.stringify(name)} already; choose another name, or delete that one`, { param: 'id' });
  }
}

/** A job names the model. */
export class ModelInUse extends AppError {
  readonly code = 'models.in_use';
  readonly kind = 'conflict';
  constructor(name: string) {
    super(`model ${name} is used by a job; delete the job first`);
  }
}

/** A file that a pushed model cannot have. */
export class ModelFileRefused extends AppError {
  readonly code = 'models.file_refused';
  readonly kind = 'invalid';
}

/** More was sent than a model's file may have. */
export class ModelFileTooLarge extends AppError {
  readonly code = 'models.file_too_large';
  readonly kind = 'too_large';
  constructor(file: string, maxBytes: number) {
    super(`${file} may have at most ${maxBytes} bytes here`);
  }
}

/** What arrived is not what its checksum says. */
export class ChecksumMismatch extends AppError {
  readonly code = 'models.checksum_mismatch';
  readonly kind = 'invalid';
}

/** No file waits under the name. */
export class NothingStaged extends AppError {
  readonly code = 'models.nothing_staged';
  readonly kind = 'missing';
  constructor(name: string) {
    super(`no file was sent for ${JSON.stringify(name)}; first PUT /v1/models/${name}/files/config.json and the others`, { param: 'id' });
  }
}

/** The model was committed while one of its files was still being sent. */
export class CommittedMeanwhile extends AppError {
  readonly code = 'models.committed_meanwhile';
  readonly kind = 'conflict';
  constructor(name: string) {
    super(`${JSON.stringify(name)} was committed while this file was being sent; send every file first, then commit`);
  }
}

/** A refusal as it crosses threads. */
export interface Refusal {
  readonly code: AppError['code'];
  readonly kind: AppError['kind'];
  readonly message: string;
}

/** The files sent are no model that can be kept; carries what the reader of model files found, without the place on our disk. */
export class ModelRefused extends AppError {
  readonly code: AppError['code'];
  readonly kind: AppError['kind'];
  constructor({ code, kind, message }: Refusal, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.kind = kind;
  }
}

/** Opening the files took more time or memory than any model needs. */
export class InspectionFailed extends AppError {
  readonly code = 'models.inspection_failed';
  readonly kind = 'invalid';
}

/** A file was sent in another form than its own bytes. */
export class UploadTypeInvalid extends AppError {
  readonly code = 'models.upload_type';
  readonly kind = 'invalid';
}

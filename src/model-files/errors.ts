import { AppError } from '../common/errors.js';

/** A file that a model directory needs is not there; names it. */
export class ModelFileMissing extends AppError {
  readonly code = 'model_files.file_missing';
  readonly kind = 'missing';
}

/** A file's bytes are not what its format allows (length, UTF-8, JSON, duplicate keys); names file, place and rule. */
export class ModelFileMalformed extends AppError {
  readonly code = 'model_files.file_malformed';
  readonly kind = 'invalid';
}

/** A safetensors file breaks its format; names the file and the first broken rule. */
export class SafetensorsInvalid extends AppError {
  readonly code = 'model_files.safetensors_invalid';
  readonly kind = 'invalid';
}

/** config.json or generation_config.json describes something Limbeck does not run, or nothing at all; names the field and what would do. */
export class ModelConfigInvalid extends AppError {
  readonly code = 'model_files.config_invalid';
  readonly kind = 'invalid';
}

/** The tensors of a model directory are not those its configuration asks for; names the tensor. */
export class ModelDirectoryInvalid extends AppError {
  readonly code = 'model_files.directory_invalid';
  readonly kind = 'invalid';
}

/** The place to write is taken; nothing was touched. */
export class OutputTaken extends AppError {
  readonly code = 'model_files.output_taken';
  readonly kind = 'conflict';
  constructor(path: string, cause?: unknown) {
    super(`${path} exists already and is not an empty directory; remove it or choose another place`, { cause });
  }
}

/** The disk has no room left; nothing of the file remains. */
export class ModelDiskFull extends AppError {
  readonly code = 'model_files.disk_full';
  readonly kind = 'unavailable';
  constructor(path: string, cause: unknown) {
    super(`no space left on the disk while writing ${path}; nothing of it was kept. Free some space and try again`, { cause });
  }
}

/** A tensor was used as numbers of a kind it does not hold. */
export class TensorKindInvalid extends AppError {
  readonly code = 'model_files.tensor_kind_invalid';
  readonly kind = 'invalid';
}

/** tokenizer.json or tokenizer_config.json describes a tokenizer Limbeck cannot reproduce; names the part. */
export class TokenizerInvalid extends AppError {
  readonly code = 'model_files.tokenizer_invalid';
  readonly kind = 'invalid';
}

/** A chat template is absent, does not parse, or refused the messages; carries the template's own words. */
export class ChatTemplateInvalid extends AppError {
  readonly code = 'model_files.chat_template_invalid';
  readonly kind = 'invalid';
}

/** A GGUF file breaks its format, or holds a model Limbeck does not run; names the place and what would do. */
export class GgufInvalid extends AppError {
  readonly code = 'model_files.gguf_invalid';
  readonly kind = 'invalid';
}

/** The list of layers to keep cannot be followed; names the first bad entry. Nothing was written. */
export class LayersInvalid extends AppError {
  readonly code = 'model_files.layers_invalid';
  readonly kind = 'invalid';
}

/** No model of this name can be pulled; lists those that can. */
export class ModelUnknown extends AppError {
  readonly code = 'model_files.model_unknown';
  readonly kind = 'invalid';
}

/** A pinned model could not be fetched (no pip, no network, wrong bytes); says which and what to do. Nothing was written. */
export class PullFailed extends AppError {
  readonly code = 'model_files.pull_failed';
  readonly kind = 'unavailable';
}

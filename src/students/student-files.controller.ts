import { Controller, Get, Param, Put, Req, Res, StreamableFile } from '@nestjs/common';
import { ApiBody, ApiConsumes, ApiHeader, ApiOkResponse, ApiParam, ApiProduces, ApiTags } from '@nestjs/swagger';
import type { Request, Response } from 'express';
import { Aborted } from '../common/errors.js';
import { Scopes } from '../http/scopes.js';
import { hasCode } from '../model-files/atomic.js';
import { unbroken } from '../storage/incoming.js';
import { promisedSha256 } from './checksum.js';
import { StudentUploadService } from './student-upload.service.js';
import { UploadTypeInvalid } from './students.errors.js';
import { ModelFilePath, ModelPath, StagedFile } from './students.schema.js';
import { StudentService } from './students.service.js';
import { writeTar, type TarEntry } from './tar.js';

const BYTES = 'application/octet-stream';
const BINARY = { type: 'string', format: 'binary' };

@ApiTags('Models')
@Controller('v1/models/:name')
export class StudentFilesController {
  constructor(
    private readonly students: StudentService,
    private readonly uploads: StudentUploadService,
  ) {}

  /** Sends one file of a model to come; `POST /v1/models` then makes it whole. Sending a file again replaces it. */
  @Put('files/:file')
  @Scopes('models:write')
  @ApiConsumes(BYTES)
  @ApiBody({ schema: BINARY })
  @ApiHeader({ name: 'x-checksum-sha256', required: false, description: 'SHA-256 of the file, hexadecimal; checked when given. Content-Digest does as well.' })
  @ApiOkResponse({ standardSchema: StagedFile })
  async put(@Param({ schema: ModelFilePath }) { name, file }: ModelFilePath, @Req() request: Request): Promise<StagedFile> {
    if (![undefined, BYTES].includes(request.headers['content-type']) || request.headers['content-encoding'] !== undefined) {
      throw new UploadTypeInvalid(`send the file's own bytes as ${BYTES}, without a content encoding`);
    }
    const staged = await this.uploads.stage({ name, file, sha256: promisedSha256(request.headers) }, unbroken(request));
    return { object: 'model.file', model: name, ...staged };
  }

  /** One file of a model. */
  @Get('files/*file')
  @Scopes('models:read')
  @ApiParam({ name: 'file', description: 'A name of the model\'s files, such as config.json or onnx/model.onnx' })
  @ApiProduces(BYTES)
  @ApiOkResponse({ schema: BINARY })
  async download(@Param('name') name: string, @Param('file') path: string | string[]): Promise<StreamableFile> {
    const fileName = [path].flat().join('/');
    const { file, bytes } = await this.students.openFile(name, fileName);
    return new StreamableFile(file.createReadStream(), { type: BYTES, disposition: attachment(fileName), length: bytes });
  }

  /** The whole model as a tar archive with one directory. */
  @Get('archive')
  @Scopes('models:read')
  @ApiProduces('application/x-tar')
  @ApiOkResponse({ schema: BINARY })
  async archive(@Param({ schema: ModelPath }) { name }: ModelPath, @Res() response: Response): Promise<void> {
    const { files, created_at } = await this.students.get(name);
    const entries = files.map(({ name: fileName, bytes }): TarEntry => {
      const open = async () => (await this.students.openFile(name, fileName)).file.createReadStream() as AsyncIterable<Uint8Array>;
      return { name: `${name}/${fileName}`, bytes, open };
    });
    response.set({ 'content-type': 'application/x-tar', 'content-disposition': attachment(`${name}.tar`) });
    try {
      await writeTar(entries, created_at, response);
    } catch (cause) {
      throw hasCode(cause, 'ERR_STREAM_PREMATURE_CLOSE') ? new Aborted('the download') : cause;
    }
  }
}

/** Names of model files hold nothing that a header would need quoted. */
function attachment(fileName: string): string {
  return `attachment; filename="${fileName.split('/').at(-1)}"`;
}

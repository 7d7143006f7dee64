import { Body, Controller, Delete, Get, Param, Post, Query, Req, StreamableFile, UploadedFile, UseInterceptors } from '@nestjs/common';
import { FileInterceptor } from '@nestjs/platform-express';
import { ApiConsumes, ApiHeader, ApiOkResponse, ApiProduces, ApiTags } from '@nestjs/swagger';
import type { Request } from 'express';
import { IdempotencyService } from '../auth/idempotency.service.js';
import type { Tx } from '../database/database.js';
import { Caller } from '../http/caller.js';
import { listOf, type List } from '../http/page.js';
import { Scopes } from '../http/scopes.js';
import { UploadMalformed } from './prompt-sets.errors.js';
import { FileDeleted, FileList, FileObject, fileObject, FilePath, ListFilesQuery, UploadFields } from './prompt-sets.schema.js';
import { PromptSetService, type CheckedUpload } from './prompt-sets.service.js';

@ApiTags('Files')
@Controller('v1/files')
export class PromptSetsController {
  constructor(
    private readonly promptSets: PromptSetService,
    private readonly idempotency: IdempotencyService,
  ) {}

  /** Takes a prompt file in; refuses it whole when a line is no prompt. */
  @Post()
  @Scopes('files:write')
  @UseInterceptors(FileInterceptor('file'))
  @ApiHeader({ name: 'Idempotency-Key', required: false })
  @ApiConsumes('multipart/form-data')
  @ApiOkResponse({ standardSchema: FileObject })
  async create(
    @UploadedFile() upload: CheckedUpload | undefined,
    @Body({ schema: UploadFields }) { purpose }: UploadFields,
    @Req() request: Request,
    @Caller() caller: Caller,
  ): Promise<FileObject> {
    if (upload === undefined) throw new UploadMalformed('the request carries no file; send multipart/form-data with the fields file and purpose', { param: 'file' });
    const keep = async (tx: Tx) => ({ status: 200, body: fileObject(await this.promptSets.keep(tx, upload, purpose)) });
    try {
      return await this.idempotency.once<FileObject>(request, caller, keep, { body: `${upload.sha256} ${upload.filename}` });
    } finally {
      await this.promptSets.forget(upload);
    }
  }

  /** Files, newest first. */
  @Get()
  @Scopes('files:read')
  @ApiOkResponse({ standardSchema: FileList })
  async list(@Query({ schema: ListFilesQuery }) query: ListFilesQuery): Promise<List<FileObject>> {
    const rows = await this.promptSets.list(query);
    return listOf(rows.map(fileObject), query.limit);
  }

  @Get(':id')
  @Scopes('files:read')
  @ApiOkResponse({ standardSchema: FileObject })
  async retrieve(@Param({ schema: FilePath }) { id }: FilePath): Promise<FileObject> {
    return fileObject(await this.promptSets.get(id));
  }

  /** The file's bytes as they were sent. */
  @Get(':id/content')
  @Scopes('files:read')
  @ApiProduces('application/jsonl')
  @ApiOkResponse({ schema: { type: 'string', format: 'binary' } })
  async content(@Param({ schema: FilePath }) { id }: FilePath): Promise<StreamableFile> {
    const { row, file } = await this.promptSets.open(id);
    const disposition = `attachment; filename*=UTF-8''${encodeURIComponent(row.filename)}`;
    return new StreamableFile(file.createReadStream(), { type: 'application/jsonl', disposition, length: row.bytes });
  }

  /** Removes a file that no job uses. */
  @Delete(':id')
  @Scopes('files:write')
  @ApiOkResponse({ standardSchema: FileDeleted })
  async remove(@Param({ schema: FilePath }) { id }: FilePath): Promise<FileDeleted> {
    await this.promptSets.remove(id);
    return { id, object: 'file', deleted: true };
  }
}

import { Body, Controller, Delete, Get, HttpCode, Param, Post, Query, StreamableFile, UploadedFile, UseInterceptors } from '@nestjs/common';
import { FileInterceptor } from '@nestjs/platform-express';
import { ApiBody, ApiConsumes, ApiOkResponse, ApiProduces, ApiTags } from '@nestjs/swagger';
import { listOf, type List } from '../http/page.js';
import { Scopes } from '../http/scopes.js';
import { UploadMalformed } from './prompt-sets.errors.js';
import { FileDeleted, FileList, FileObject, fileObject, ListFilesQuery, UploadFields } from './prompt-sets.schema.js';
import { PromptSetService, type CheckedUpload } from './prompt-sets.service.js';

const MULTIPART = {
  type: 'object',
  required: ['file', 'purpose'],
  properties: { file: { type: 'string', format: 'binary', description: 'JSON lines: {"messages":[…], "answer"?, "mode"?}' }, purpose: { type: 'string', enum: ['fine-tune'] } },
};

@ApiTags('files')
@Controller('v1/files')
export class PromptSetsController {
  constructor(private readonly promptSets: PromptSetService) {}

  /** Takes a prompt file in; refuses it whole when a line is no prompt. */
  @Post()
  @HttpCode(200)
  @Scopes('files:write')
  @UseInterceptors(FileInterceptor('file'))
  @ApiConsumes('multipart/form-data')
  @ApiBody({ schema: MULTIPART })
  @ApiOkResponse({ standardSchema: FileObject })
  async create(@UploadedFile() upload: CheckedUpload | undefined, @Body({ schema: UploadFields }) { purpose }: UploadFields): Promise<FileObject> {
    if (upload === undefined) throw new UploadMalformed('the request carries no file; send multipart/form-data with the fields file and purpose', { param: 'file' });
    return fileObject(await this.promptSets.create(upload, purpose));
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
  async retrieve(@Param('id') id: string): Promise<FileObject> {
    return fileObject(await this.promptSets.get(id));
  }

  /** The file's bytes as they were sent. */
  @Get(':id/content')
  @Scopes('files:read')
  @ApiProduces('application/jsonl')
  @ApiOkResponse({ schema: { type: 'string', format: 'binary' } })
  async content(@Param('id') id: string): Promise<StreamableFile> {
    const { row, file } = await this.promptSets.open(id);
    const disposition = `attachment; filename*=UTF-8''${encodeURIComponent(row.filename)}`;
    return new StreamableFile(file.createReadStream(), { type: 'application/jsonl', disposition, length: row.bytes });
  }

  /** Removes a file that no job uses. */
  @Delete(':id')
  @Scopes('files:write')
  @ApiOkResponse({ standardSchema: FileDeleted })
  async remove(@Param('id') id: string): Promise<FileDeleted> {
    await this.promptSets.remove(id);
    return { id, object: 'file', deleted: true };
  }
}

import { Body, Controller, Delete, Get, Param, Post, Query, Req } from '@nestjs/common';
import { ApiHeader, ApiOkResponse, ApiTags } from '@nestjs/swagger';
import type { Request } from 'express';
import { IdempotencyService } from '../auth/idempotency.service.js';
import { Caller } from '../http/caller.js';
import { listOf, type List } from '../http/page.js';
import { Scopes } from '../http/scopes.js';
import { StudentUploadService } from './student-upload.service.js';
import { CreateModel, ListModelsQuery, ModelDeleted, ModelList, ModelObject, modelObject, ModelPath } from './students.schema.js';
import { StudentService } from './students.service.js';

@ApiTags('Models')
@Controller('v1/models')
export class StudentsController {
  constructor(
    private readonly students: StudentService,
    private readonly uploads: StudentUploadService,
    private readonly idempotency: IdempotencyService,
  ) {}

  /** Makes the files that were sent under the name a model, after opening all of them; or refuses them and keeps them to be mended. */
  @Post()
  @Scopes('models:write')
  @ApiHeader({ name: 'Idempotency-Key', required: false })
  @ApiOkResponse({ standardSchema: ModelObject })
  create(@Body({ schema: CreateModel }) { id, base }: CreateModel, @Req() request: Request, @Caller() caller: Caller): Promise<ModelObject> {
    return this.uploads.commit({ name: id, base: base ?? null }, (publish) =>
      this.idempotency.once<ModelObject>(request, caller, async (tx) => ({ status: 200, body: modelObject(await publish(tx)) })),
    );
  }

  /** Models, newest first: pushed ones and students. */
  @Get()
  @Scopes('models:read')
  @ApiOkResponse({ standardSchema: ModelList })
  async list(@Query({ schema: ListModelsQuery }) query: ListModelsQuery): Promise<List<ModelObject>> {
    const rows = await this.students.list(query);
    return listOf(rows.map(modelObject), query.limit);
  }

  @Get(':name')
  @Scopes('models:read')
  @ApiOkResponse({ standardSchema: ModelObject })
  async retrieve(@Param({ schema: ModelPath }) { name }: ModelPath): Promise<ModelObject> {
    return modelObject(await this.students.get(name));
  }

  /** Removes a model that no job uses, with its files. */
  @Delete(':name')
  @Scopes('models:write')
  @ApiOkResponse({ standardSchema: ModelDeleted })
  async remove(@Param({ schema: ModelPath }) { name }: ModelPath): Promise<ModelDeleted> {
    await this.students.remove(name);
    return { id: name, object: 'model', deleted: true };
  }
}

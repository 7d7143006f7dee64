import { Body, Controller, Delete, Get, HttpCode, Inject, Param, Post, Query, Req } from '@nestjs/common';
import { ApiCreatedResponse, ApiHeader, ApiOkResponse, ApiTags } from '@nestjs/swagger';
import type { Request } from 'express';
import { IdempotencyService } from '../auth/idempotency.service.js';
import type { ApiSettings } from '../config/service-settings.js';
import { API_SETTINGS } from '../config/tokens.js';
import { Caller } from '../http/caller.js';
import { PageQuery, type List } from '../http/page.js';
import { Scopes } from '../http/scopes.js';
import { DeletedTeacher, NewTeacher, Teacher, TeacherList, TeacherPath, TeacherProbe } from './teacher.schema.js';
import { TeacherService } from './teacher.service.js';

@Controller('v1/teachers')
@ApiTags('Teachers')
export class TeachersController {
  constructor(
    private readonly teachers: TeacherService,
    private readonly idempotency: IdempotencyService,
    @Inject(API_SETTINGS) private readonly settings: Pick<ApiSettings, 'probeTeacherMs'>,
  ) {}

  /** Registers a teacher whose address the operator has allowed. The key is kept sealed and never shown again. */
  @Post()
  @Scopes('teachers:write')
  @ApiHeader({ name: 'Idempotency-Key', required: false })
  @ApiCreatedResponse({ standardSchema: Teacher })
  async create(@Body({ schema: NewTeacher }) body: NewTeacher, @Req() request: Request, @Caller() caller: Caller): Promise<Teacher> {
    await this.teachers.admit(body);
    return this.idempotency.once<Teacher>(request, caller, async (tx) => ({ status: 201, body: await this.teachers.create(tx, body) }));
  }

  @Get()
  @Scopes('teachers:read')
  @ApiOkResponse({ standardSchema: TeacherList })
  list(@Query({ schema: PageQuery }) page: PageQuery): Promise<List<Teacher>> {
    return this.teachers.list(page);
  }

  @Get(':id')
  @Scopes('teachers:read')
  @ApiOkResponse({ standardSchema: Teacher })
  retrieve(@Param({ schema: TeacherPath }) { id }: TeacherPath): Promise<Teacher> {
    return this.teachers.retrieve(id);
  }

  /** Asks the teacher once, from the API's own place in the network, which models it serves. */
  @Post(':id/probe')
  @HttpCode(200)
  @Scopes('teachers:write')
  @ApiOkResponse({ standardSchema: TeacherProbe })
  probe(@Param({ schema: TeacherPath }) { id }: TeacherPath): Promise<TeacherProbe> {
    return this.teachers.probe(id, this.settings.probeTeacherMs);
  }

  @Delete(':id')
  @Scopes('teachers:write')
  @ApiOkResponse({ standardSchema: DeletedTeacher })
  remove(@Param({ schema: TeacherPath }) { id }: TeacherPath): Promise<DeletedTeacher> {
    return this.teachers.remove(id);
  }
}

import { Body, Controller, Delete, Get, Param, Post, Query, Req } from '@nestjs/common';
import { ApiCreatedResponse, ApiHeader, ApiOkResponse, ApiTags } from '@nestjs/swagger';
import type { Request } from 'express';
import { Caller } from '../http/caller.js';
import { listOf, PageQuery, type List } from '../http/page.js';
import { Scopes } from '../http/scopes.js';
import type { ApiKeyRow } from './api-keys.repository.js';
import { ApiKeyList, ApiKeyObject, ApiKeyPath, CreateApiKey, CreatedApiKey } from './api-keys.schema.js';
import { AuthService } from './auth.service.js';
import { IdempotencyService } from './idempotency.service.js';

@Controller('v1/api_keys')
@ApiTags('API keys')
@Scopes('admin')
export class ApiKeysController {
  constructor(
    private readonly auth: AuthService,
    private readonly idempotency: IdempotencyService,
  ) {}

  @Post()
  @ApiHeader({ name: 'Idempotency-Key', required: false })
  @ApiCreatedResponse({ standardSchema: CreatedApiKey })
  create(@Body({ schema: CreateApiKey }) body: CreateApiKey, @Req() request: Request, @Caller() caller: Caller): Promise<CreatedApiKey> {
    return this.idempotency.once<CreatedApiKey>(request, caller, async (tx) => {
      const { row, text } = await this.auth.createKey(tx, { name: body.name, scopes: body.scopes, expiresInSeconds: body.expires_in_seconds });
      return { status: 201, body: { ...objectOf(row), key: text }, kept: { ...objectOf(row), key: null } };
    });
  }

  @Get()
  @ApiOkResponse({ standardSchema: ApiKeyList })
  async list(@Query({ schema: PageQuery }) { after, limit }: PageQuery): Promise<List<ApiKeyObject>> {
    const rows = await this.auth.list(limit + 1, after);
    return listOf(rows.map(objectOf), limit);
  }

  /** Revokes the key; its record stays. */
  @Delete(':id')
  @ApiOkResponse({ standardSchema: ApiKeyObject })
  async revoke(@Param({ schema: ApiKeyPath }) { id }: ApiKeyPath): Promise<ApiKeyObject> {
    return objectOf(await this.auth.revoke(id));
  }
}

function objectOf(row: ApiKeyRow): ApiKeyObject {
  const { id, name, scopes, last4, created_at, expires_at, revoked_at, last_used_at } = row;
  return { id, object: 'api_key', name, scopes: [...scopes], last4, created_at, expires_at, revoked_at, last_used_at };
}

import { Controller, Get, Inject, Param, Query } from '@nestjs/common';
import { ApiOkResponse, ApiTags } from '@nestjs/swagger';
import type { ApiSettings } from '../config/service-settings.js';
import { API_SETTINGS } from '../config/tokens.js';
import { listOf, PageQuery, type List } from '../http/page.js';
import { Scopes } from '../http/scopes.js';
import { Node, NodeList, nodeOf } from './nodes.schema.js';
import { NodesService } from './nodes.service.js';

@ApiTags('nodes')
@Controller('v1/nodes')
@Scopes('nodes:read')
export class NodesController {
  constructor(
    private readonly nodes: NodesService,
    @Inject(API_SETTINGS) private readonly settings: Pick<ApiSettings, 'nodeSilentMs'>,
  ) {}

  /** Workers, newest first, stopped ones included. */
  @Get()
  @ApiOkResponse({ standardSchema: NodeList })
  async list(@Query({ schema: PageQuery }) query: PageQuery): Promise<List<Node>> {
    const rows = await this.nodes.list(query);
    return listOf(rows.map((row) => nodeOf(row, this.settings.nodeSilentMs)), query.limit);
  }

  @Get(':id')
  @ApiOkResponse({ standardSchema: Node })
  async retrieve(@Param('id') id: string): Promise<Node> {
    return nodeOf(await this.nodes.get(id), this.settings.nodeSilentMs);
  }
}

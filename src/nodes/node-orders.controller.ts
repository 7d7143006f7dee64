import { Controller, HttpCode, Inject, Param, Post } from '@nestjs/common';
import { ApiOkResponse, ApiTags } from '@nestjs/swagger';
import type { ApiSettings } from '../config/service-settings.js';
import { API_SETTINGS } from '../config/tokens.js';
import { Scopes } from '../http/scopes.js';
import { Node, nodeOf } from './nodes.schema.js';
import { NodesService } from './nodes.service.js';

@ApiTags('nodes')
@Controller('v1/nodes')
@Scopes('admin')
export class NodeOrdersController {
  constructor(
    private readonly nodes: NodesService,
    @Inject(API_SETTINGS) private readonly settings: Pick<ApiSettings, 'nodeSilentMs'>,
  ) {}

  /** Has the node give its stages back at their next step boundary and take no more; other workers go on. Again changes nothing. */
  @Post(':id/drain')
  @HttpCode(200)
  @ApiOkResponse({ standardSchema: Node })
  async drain(@Param('id') id: string): Promise<Node> {
    return nodeOf(await this.nodes.drain(id), this.settings.nodeSilentMs);
  }

  /** Lets a draining node take stages again. */
  @Post(':id/undrain')
  @HttpCode(200)
  @ApiOkResponse({ standardSchema: Node })
  async undrain(@Param('id') id: string): Promise<Node> {
    return nodeOf(await this.nodes.undrain(id), this.settings.nodeSilentMs);
  }
}

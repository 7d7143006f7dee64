import { Module } from '@nestjs/common';
import { NodeOrdersController } from './node-orders.controller.js';
import { NodesController } from './nodes.controller.js';
import { NodesRepository } from './nodes.repository.js';
import { NodesService } from './nodes.service.js';

/** `/v1/nodes`. Expects Database and API_SETTINGS from a global module. */
@Module({ controllers: [NodesController, NodeOrdersController], providers: [NodesRepository, NodesService], exports: [NodesService] })
export class NodesModule {}

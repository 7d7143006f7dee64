import { Controller, Get, UseGuards } from '@nestjs/common';
import { ApiKeyGuard } from './api-key.guard.js';
import { ServedModel } from './served-model.js';

@Controller('v1/models')
@UseGuards(ApiKeyGuard)
export class ModelsController {
  private readonly created = Math.floor(Date.now() / 1000);

  constructor(private readonly model: ServedModel) {}

  @Get()
  list(): object {
    const { name, maxLength } = this.model;
    return {
      object: 'list',
      data: [{ id: name, object: 'model', created: this.created, owned_by: 'limbeck', root: name, parent: null, max_model_len: maxLength }],
    };
  }
}

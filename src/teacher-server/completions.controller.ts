import { Body, Controller, HttpCode, Post, Res, UseGuards } from '@nestjs/common';
import type { Response } from 'express';
import { hangUpSignal } from '../http/hang-up.js';
import { ApiKeyGuard } from './api-key.guard.js';
import { CompletionRequest } from './completion.schema.js';
import { CompletionService } from './completion.service.js';

@Controller('v1/completions')
@UseGuards(ApiKeyGuard)
export class CompletionsController {
  constructor(private readonly completions: CompletionService) {}

  @Post()
  @HttpCode(200)
  async create(@Body({ schema: CompletionRequest }) request: CompletionRequest, @Res() response: Response): Promise<void> {
    const json = await this.completions.answer(request, hangUpSignal(response));
    response.type('application/json').send(json);
  }
}

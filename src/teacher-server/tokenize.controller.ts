import { Body, Controller, HttpCode, Post } from '@nestjs/common';
import { checkIds } from './completion-plan.js';
import { ServedModel } from './served-model.js';
import { DetokenizeRequest, TokenizeRequest } from './tokenize.schema.js';

@Controller()
export class TokenizeController {
  constructor(private readonly model: ServedModel) {}

  @Post('tokenize')
  @HttpCode(200)
  async tokenize(@Body({ schema: TokenizeRequest }) request: TokenizeRequest): Promise<object> {
    this.model.checkName(request.model);
    const text = 'prompt' in request ? request.prompt : await this.model.renderChat(request.messages, request.add_generation_prompt ? 'add' : 'omit');
    const tokens = Array.from(this.model.tokenizer.encode(text));
    return {
      count: tokens.length,
      max_model_len: this.model.maxLength,
      tokens,
      token_strs: request.return_token_strs ? tokens.map((id) => this.model.textOf(id)) : null,
    };
  }

  @Post('detokenize')
  @HttpCode(200)
  detokenize(@Body({ schema: DetokenizeRequest }) request: DetokenizeRequest): object {
    this.model.checkName(request.model);
    return { prompt: this.model.tokenizer.decode(checkIds(request.tokens, this.model, 'tokens'), { skipSpecial: 'keep' }) };
  }
}

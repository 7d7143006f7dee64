import { AppError } from '../common/errors.js';

/** No node has this id. */
export class NodeUnknown extends AppError {
  readonly code = 'nodes.unknown';
  readonly kind = 'missing';
  constructor(id: string, param: string | null = null) {
    super(`there is no node ${JSON.stringify(id.slice(0, 64))}; GET /v1/nodes lists those there are`, { param });
  }
}

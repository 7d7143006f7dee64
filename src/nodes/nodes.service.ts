import { Injectable } from '@nestjs/common';
import { newId } from '../common/ids.js';
import { NodeUnknown } from './nodes.errors.js';
import { NodesRepository, type NodeDescription, type NodeRow } from './nodes.repository.js';

export type { NodeDescription, NodeDevice } from './nodes.repository.js';

/** The workers there are and have been. */
@Injectable()
export class NodesService {
  constructor(private readonly repository: NodesRepository) {}

  /** Enters a worker that starts. @returns the id it goes by until it ends. */
  async register(description: NodeDescription): Promise<string> {
    const id = newId('node');
    await this.repository.insert(id, description);
    return id;
  }

  /** A sign of life. */
  beat(id: string): Promise<void> {
    return this.repository.beat(id);
  }

  /** Says that a worker has ended in order. */
  markStopped(id: string): Promise<void> {
    return this.repository.stop(id);
  }

  /** @throws NodeUnknown */
  async get(id: string): Promise<NodeRow> {
    const row = await this.repository.find(id);
    if (!row) throw new NodeUnknown(id);
    return row;
  }

  /** Newest first; one more than `limit` where there are more. @throws NodeUnknown when there is no node `after`. */
  async list({ after, limit }: { readonly after?: string; readonly limit: number }): Promise<NodeRow[]> {
    if (after !== undefined && !(await this.repository.find(after))) throw new NodeUnknown(after, 'after');
    return this.repository.list({ after, limit: limit + 1 });
  }
}

import { Injectable } from '@nestjs/common';
import { newId } from '../common/ids.js';
import { NodeUnknown } from './nodes.errors.js';
import { NodesRepository, type NodeDescription, type NodeRow } from './nodes.repository.js';

export { NODE_ORDERS } from './nodes.repository.js';
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

  /** A sign of life. @returns whether the node is to drain. */
  beat(id: string): Promise<boolean> {
    return this.repository.beat(id);
  }

  /** Has a node give its stages back at their next step boundary and take no more, until it is told otherwise. Again changes nothing. @throws NodeUnknown */
  async drain(id: string): Promise<NodeRow> {
    await this.repository.order(id, 'drain');
    return this.get(id);
  }

  /** Lets a draining node take stages again. @throws NodeUnknown */
  async undrain(id: string): Promise<NodeRow> {
    await this.repository.order(id, 'undrain');
    return this.get(id);
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

import { z } from 'zod';

const DEFAULT_LIMIT = 20;
const MOST = 100;

/** Fields of every list's query: `after` is the id of the last item seen. */
export const pageFields = {
  after: z.string().min(1).max(128).optional().describe('Id of the last item of the page before'),
  limit: z.coerce.number().int().min(1).max(MOST).default(DEFAULT_LIMIT).describe('Items on the page'),
};

/** Query of a list without filters of its own; others spread `pageFields` into a strict object. */
export const PageQuery = z.strictObject(pageFields);
export type PageQuery = z.output<typeof PageQuery>;

/** One page in the shape of the OpenAI API, newest first. */
export interface List<Item> {
  readonly object: 'list';
  readonly data: readonly Item[];
  readonly has_more: boolean;
  readonly first_id: string | null;
  readonly last_id: string | null;
}

/** Schema of one page, for the documentation. */
export function listSchema<Item extends z.ZodType>(item: Item) {
  return z.object({ object: z.literal('list'), data: z.array(item), has_more: z.boolean(), first_id: z.string().nullable(), last_id: z.string().nullable() });
}

/** @param rows up to `limit + 1` items: one more than the page holds tells that there are more. */
export function listOf<Item extends { readonly id: string }>(rows: readonly Item[], limit: number): List<Item> {
  const data = rows.slice(0, limit);
  return { object: 'list', data, has_more: rows.length > limit, first_id: data[0]?.id ?? null, last_id: data.at(-1)?.id ?? null };
}

import { describe, expect, it } from 'vitest';
import { listOf, PageQuery } from './page.js';

const items = (count: number) => Array.from({ length: count }, (_, i) => ({ id: `x-${i}` }));

describe('listOf', () => {
  it('gives the page and says that there is more when one row more was found', () => {
    expect(listOf(items(3), 2)).toEqual({ object: 'list', data: [{ id: 'x-0' }, { id: 'x-1' }], has_more: true, first_id: 'x-0', last_id: 'x-1' });
  });

  it('says that a full page is the last when nothing follows', () => {
    expect(listOf(items(2), 2)).toMatchObject({ has_more: false, last_id: 'x-1' });
  });

  it('gives an empty page', () => {
    expect(listOf([], 20)).toEqual({ object: 'list', data: [], has_more: false, first_id: null, last_id: null });
  });
});

describe('PageQuery', () => {
  it('takes 20 items unless told otherwise', () => {
    expect(PageQuery.parse({})).toEqual({ limit: 20 });
    expect(PageQuery.parse({ limit: '100', after: 'ftjob-1' })).toEqual({ limit: 100, after: 'ftjob-1' });
  });

  it.each([{ limit: '0' }, { limit: '101' }, { limit: '1.5' }, { limit: 'many' }, { after: '' }, { before: 'x' }])('refuses %o', (query) => {
    expect(PageQuery.safeParse(query).success).toBe(false);
  });
});

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { OpenAPIObject } from '@nestjs/swagger';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { getJson } from '../../support/http-json.js';
import { startWholeApi, type WholeApi } from '../../support/whole-api.js';

const COMMITTED = join(import.meta.dirname, 'openapi.json');

let api: WholeApi;
let document: OpenAPIObject;

beforeAll(async () => {
  api = await startWholeApi();
  document = (await getJson<OpenAPIObject>(`${api.url}/openapi.json`)).json;
  if (process.env.UPDATE_CONTRACTS === '1') writeFileSync(COMMITTED, `${JSON.stringify(document, undefined, 2)}\n`);
});
afterAll(() => api.close());

describe('the OpenAPI document', () => {
  it('is the committed one; after a wanted change run this file with UPDATE_CONTRACTS=1 and review the diff', () => {
    expect(document).toEqual(JSON.parse(readFileSync(COMMITTED, 'utf8')));
  });

  it('is of version 3.1, and every reference in it leads somewhere', () => {
    expect(document.openapi).toBe('3.1.0');
    const references = [...JSON.stringify(document).matchAll(/"\$ref":"#\/components\/schemas\/([^"]+)"/g)].map(([, name]) => name);
    expect(references.length).toBeGreaterThan(20);
    expect(references.filter((name) => !document.components?.schemas?.[name])).toEqual([]);
  });

  it('says for every operation what it answers and what a refusal looks like, and uses each operation id once', () => {
    const operations = Object.entries(document.paths).flatMap(([path, item]) =>
      (['get', 'put', 'post', 'patch', 'delete'] as const).flatMap((method) => (item[method] ? [{ name: `${method} ${path}`, operation: item[method] }] : [])),
    );
    const ids = operations.map(({ operation }) => operation.operationId);
    expect(new Set(ids).size).toBe(ids.length);
    for (const { name, operation } of operations) {
      expect(Object.keys(operation.responses).filter((status) => status.startsWith('2')), name).not.toEqual([]);
      expect(operation.responses.default, name).toMatchObject({ content: { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } } });
    }
  });

  it('takes no unknown field in any JSON body', () => {
    for (const [path, item] of Object.entries(document.paths)) {
      const body = item.post?.requestBody;
      const schema = body && 'content' in body ? body.content['application/json']?.schema : undefined;
      const resolved = schema && '$ref' in schema ? document.components?.schemas?.[schema.$ref.split('/').at(-1) ?? ''] : schema;
      if (resolved) expect(resolved, path).toMatchObject({ additionalProperties: false });
    }
  });

  it('is shown at /docs', async () => {
    const page = await getJson(`${api.url}/docs`);
    expect(page.status).toBe(200);
    expect(page.text).toContain('swagger-ui');
  });
});

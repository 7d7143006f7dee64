import type { NestExpressApplication } from '@nestjs/platform-express';
import { DocumentBuilder, SwaggerModule, type OpenAPIObject } from '@nestjs/swagger';
import { z } from 'zod';
import { limbeckVersion } from '../common/version.js';
import { SECURITY_SCHEME } from './scopes.js';

/** What every refusal answers, whatever its status. */
const Failure = z.object({
  error: z.object({
    message: z.string().describe('What was wrong, where, and what would be right; for people'),
    type: z.string().describe('Kind of failure, such as invalid_request_error'),
    code: z.string().describe('Stable name of the failure, such as http.invalid_request; for programs. New ones may come'),
    param: z.string().nullable().describe('Path of the field at fault'),
  }),
});

const REFUSAL = {
  description: 'Every refusal, with its status. A 409 says by `x-should-retry` whether repeating helps; 429 and 503 say by `retry-after` when.',
  headers: { 'x-request-id': { description: 'Names the request in the log', schema: { type: 'string' as const } } },
  content: { 'application/json': { schema: { $ref: '#/components/schemas/Error' } } },
};

const METHODS = ['get', 'put', 'post', 'patch', 'delete'] as const;

/** The OpenAPI 3.1 document of every route of the application, made from the schemas that validate its requests. */
export function openApiOf(app: NestExpressApplication): OpenAPIObject {
  const builder = new DocumentBuilder()
    .setOpenAPIVersion('3.1.0')
    .setTitle('Limbeck')
    .setDescription('Distils a strong language model behind a teacher server into a small student. Jobs have the shape of the OpenAI fine-tuning API. Answers may gain fields and statuses; readers should pass over those they do not know.')
    .setVersion(limbeckVersion())
    .setLicense('Apache-2.0', 'https://www.apache.org/licenses/LICENSE-2.0')
    .addSecurity(SECURITY_SCHEME, { type: 'http', scheme: 'bearer', description: 'An API key, `lbk_…`; each operation names the scopes it asks for.' });
  return withRefusals(SwaggerModule.createDocument(app, builder.build(), { operationIdFactory: (controller, method) => `${controller.replace(/Controller$/, '')}.${method}` }));
}

/** Serves the document at `/openapi.json`, and pages that show it at `/docs`. */
export function serveOpenApi(app: NestExpressApplication): void {
  SwaggerModule.setup('docs', app, () => openApiOf(app), { jsonDocumentUrl: 'openapi.json', raw: ['json'], customSiteTitle: 'Limbeck' });
}

function withRefusals(document: OpenAPIObject): OpenAPIObject {
  const schema = z.toJSONSchema(Failure);
  delete schema.$schema; // the document says once of which dialect it is
  document.components = { ...document.components, schemas: { ...document.components?.schemas, Error: schema as object } };
  for (const item of Object.values(document.paths)) {
    for (const operation of METHODS.map((method) => item[method])) if (operation) operation.responses.default = REFUSAL;
  }
  return document;
}

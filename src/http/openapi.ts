import type { NestExpressApplication } from '@nestjs/platform-express';
import { DocumentBuilder, SwaggerModule, type OpenAPIObject } from '@nestjs/swagger';
import { limbeckVersion } from '../common/version.js';
import { SECURITY_SCHEME } from './scopes.js';

/** The OpenAPI 3.1 document of every route of the application, made from the schemas that validate its requests. */
export function openApiOf(app: NestExpressApplication): OpenAPIObject {
  const builder = new DocumentBuilder()
    .setOpenAPIVersion('3.1.0')
    .setTitle('Limbeck')
    .setDescription('Distils a strong language model behind a teacher server into a small student. Jobs have the shape of the OpenAI fine-tuning API.')
    .setVersion(limbeckVersion())
    .setLicense('Apache-2.0', 'https://www.apache.org/licenses/LICENSE-2.0')
    .addSecurity(SECURITY_SCHEME, { type: 'http', scheme: 'bearer', description: 'An API key, `lbk_…`; each operation names the scopes it asks for.' });
  return SwaggerModule.createDocument(app, builder.build(), { operationIdFactory: (controller, method) => `${controller.replace(/Controller$/, '')}.${method}` });
}

/** Serves the document at `/openapi.json`, and pages that show it at `/docs`. */
export function serveOpenApi(app: NestExpressApplication): void {
  SwaggerModule.setup('docs', app, () => openApiOf(app), { jsonDocumentUrl: 'openapi.json', raw: ['json'], customSiteTitle: 'Limbeck' });
}

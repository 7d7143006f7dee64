import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { isObject, readOptionalText } from './json-file.js';

/** What a model card says. */
export interface ModelCardContents {
  readonly title: string;
  /** As the Hub spells licences, such as `apache-2.0`. */
  readonly license?: string;
  /** The model this one was made from. */
  readonly baseModel?: string;
  readonly tags: readonly string[];
  /** Markdown, in this order. */
  readonly sections: readonly { readonly heading: string; readonly body: string }[];
}

/** README.md of a model directory: the Hub's YAML front matter for a text-generation model, then the sections. */
export function modelCard({ title, license, baseModel, tags, sections }: ModelCardContents): string {
  const head = { ...(license && { license }), ...(baseModel && { base_model: baseModel }), library_name: 'transformers', pipeline_tag: 'text-generation', tags };
  const body = sections.map(({ heading, body: text }) => `## ${heading}\n\n${text.trim()}\n`);
  return ['---', `${stringify(head).trim()}`, '---', '', `# ${title}`, '', body.join('\n')].join('\n');
}

/** What a model's README says that holds for models made from it too; absent where it says nothing. */
export interface CardFacts {
  readonly license?: string;
  readonly baseModel?: string;
  /** The text of its section *Origin*. */
  readonly origin?: string;
}

/** Reads README.md of a model directory. A missing one, or one without front matter, states nothing: no error. */
export async function readCardFacts(dir: string): Promise<CardFacts> {
  const text = (await readOptionalText(join(dir, 'README.md'))) ?? '';
  const [, front = '', body = ''] = /^---\n(.*?)\n---\n(.*)$/s.exec(text) ?? [];
  const head = parseFront(front);
  return { license: asText(head.license), baseModel: asText(head.base_model), origin: /^## Origin\n\n(.*?)(?=\n## |$(?![\s\S]))/ms.exec(body)?.[1].trim() };
}

function parseFront(front: string): Record<string, unknown> {
  try {
    const head: unknown = parse(front);
    return isObject(head) ? head : {};
  } catch {
    return {};
  }
}

function asText(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

import { stringify } from 'yaml';

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

const MODEL_NAME = /^[a-z0-9](?!.*\.\.)[a-z0-9._-]{0,62}$/;

/** Characters. */
export const LONGEST_MODEL_NAME = 63;

/** What a model may be called, in words. */
export const MODEL_NAME_RULE = '1 to 63 of a-z 0-9 . _ -, beginning with a letter or digit, without ".."';

export function isModelName(name: string): boolean {
  return MODEL_NAME.test(name);
}

/** The nearest name that a model may have. */
export function asModelName(text: string): string {
  const plain = text
    .toLowerCase()
    .replace(/[^a-z0-9._-]+/g, '-')
    .replace(/\.{2,}/g, '.')
    .replace(/^[._-]+/, '');
  return plain.slice(0, LONGEST_MODEL_NAME) || 'model';
}

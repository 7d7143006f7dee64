import type { Database } from '../../src/database/database.js';

/** What a job names, as rows; returns the body that names them. */
export async function registerInputs(database: Database) {
  await database.query(
    `insert into teachers (id, name, dialect, base_url, model) values ('teacher-1', 'strong', 'vllm', 'http://127.0.0.1:1', 'strong-model') on conflict do nothing`,
  );
  await database.query(
    `insert into files (id, filename, purpose, bytes, sha256, prompts, place) values ('file-train', 'train.jsonl', 'fine-tune', 9, 'aa', 2, 'p1'), ('file-held', 'held.jsonl', 'fine-tune', 9, 'bb', 1, 'p2') on conflict do nothing`,
  );
  await database.query(
    `insert into models (name, source, architecture, parameters, bytes, files, place) values ('small', 'uploaded', 'llama', 1, 1, '[]', 'm1') on conflict do nothing`,
  );
  return {
    model: 'small',
    training_file: 'file-train',
    validation_file: 'file-held',
    method: { type: 'distillation', distillation: { teacher: 'teacher-1', align: { steps: 3 } } },
  };
}

import type { Database } from '../../src/database/database.js';

/** Puts a bare run into an otherwise empty database, with what it names. */
export async function storeRun(database: Database, id: string): Promise<string> {
  await database.query(`insert into models (name, source, architecture, parameters, bytes, files, place) values ('m', 'uploaded', 'llama', 1, 1, '[]', 'm') on conflict do nothing`);
  await database.query(`insert into files (id, filename, purpose, bytes, sha256, prompts, place) values ('file-1', 'f', 'fine-tune', 1, '', 1, 'f') on conflict do nothing`);
  await database.query(`insert into teachers (id, name, dialect, base_url, model) values ('teacher-1', 't', 'vllm', 'http://127.0.0.1:1', 't') on conflict do nothing`);
  await database.query(
    `insert into runs (id, status, model, training_file, validation_file, teacher_id, suffix, seed, spec, spec_hash, lineage)
     values ($1, 'running', 'm', 'file-1', 'file-1', 'teacher-1', 's', 1, '{}', 'h', '{}')`,
    [id],
  );
  return id;
}

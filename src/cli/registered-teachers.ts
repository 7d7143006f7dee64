import { randomUUID } from 'node:crypto';
import type { Command } from 'commander';
import { secretFromEnvironment } from '../config/secret.js';
import { DeletedTeacher, Teacher, TeacherProbe } from '../teachers/teacher.schema.js';
import { addApiOptions, withApi, type ApiFlags } from './api-address.js';

interface RegisterFlags extends ApiFlags {
  readonly name: string;
  readonly url: string;
  readonly model: string;
  readonly keyEnv?: string;
}

/** `teacher register|list|probe|remove`: the teachers that a service knows. */
export function addRegisteredTeacherCommands(teacher: Command): void {
  addApiOptions(teacher.command('register'))
    .requiredOption('--name <name>', 'how the service shall call it')
    .requiredOption('--url <url>', 'its address, such as http://teacher.example:8000; the operator must have allowed it (LIMBECK_ALLOWED_TEACHERS)')
    .requiredOption('--model <model>', 'the name it serves its model under')
    .option('--key-env <variable>', "the environment variable that holds the teacher's own key")
    .description('register a teacher with a service; prints its id')
    .action((flags: RegisterFlags) => withApi(flags, async (client) => print((await client.post('/v1/teachers', bodyOf(flags), Teacher, { idempotencyKey: randomUUID() })).id)));

  addApiOptions(teacher.command('list'))
    .description('the teachers of a service, newest first')
    .action((flags: ApiFlags) =>
      withApi(flags, async (client) => {
        for await (const { id, name, model, base_url, probe } of client.list('/v1/teachers', Teacher)) print([id, name, model, base_url, probe?.status ?? 'not probed'].join('  '));
      }),
    );

  addApiOptions(teacher.command('probe'))
    .argument('<id>', 'teacher-…')
    .description('ask the service whether it reaches a teacher that serves its model')
    .action((id: string, flags: ApiFlags) => withApi(flags, async (client) => print(wordsOf(await client.post(`/v1/teachers/${encodeURIComponent(id)}/probe`, {}, TeacherProbe)))));

  addApiOptions(teacher.command('remove'))
    .argument('<id>', 'teacher-…')
    .description('remove a teacher that no job uses')
    .action((id: string, flags: ApiFlags) => withApi(flags, async (client) => print(`removed ${(await client.delete(`/v1/teachers/${encodeURIComponent(id)}`, DeletedTeacher)).id}`)));
}

function bodyOf({ name, url, model, keyEnv }: RegisterFlags): object {
  return { name, base_url: url, model, ...(keyEnv === undefined ? {} : { api_key: secretFromEnvironment(keyEnv) }) };
}

function wordsOf({ status, http_status, reason }: TeacherProbe): string {
  return [status, ...(http_status === undefined ? [] : [`HTTP ${http_status}`]), ...(reason === undefined ? [] : [reason.replaceAll('_', ' ')])].join(', ');
}

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

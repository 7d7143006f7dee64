import type { Command } from 'commander';
import { addApiOptions, withApi, type ApiFlags } from './api-address.js';
import { pushFile } from './push.js';

/** `files …`: prompt files of a service. */
export function addFileCommands(program: Command): void {
  const files = program.command('files').description('prompt files of a service');

  addApiOptions(files.command('push'))
    .argument('<file>', 'one prompt a line: {"messages":[{"role":"user","content":"…"}], "answer"?: "…"}')
    .description('send a prompt file to a service; prints its id')
    .action((file: string, flags: ApiFlags) =>
      withApi(flags, async (client) => {
        const { id, prompts } = await pushFile(client, file);
        process.stderr.write(`${prompts} prompts\n`);
        process.stdout.write(`${id}\n`);
      }),
    );
}

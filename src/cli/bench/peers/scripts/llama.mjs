// One request a run of llama.cpp: greedy decode of one sequence through node-llama-cpp. `llama.mjs JSON`; the protocol is that of peer-process.ts.
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const given = JSON.parse(process.argv[2]);
const { getLlama } = await import(pathToFileURL(given.module).href);
const llama = await getLlama({ gpu: false, build: 'never', progressLogs: false, logLevel: 'error', maxThreads: given.threads });
const model = await llama.loadModel({ modelPath: given.gguf });
const context = await model.createContext({ contextSize: 512, batchSize: 512, sequences: 1, threads: { ideal: given.threads, min: given.threads } });
const sequence = context.getSequence();
const prompt = [...new Int32Array(readFileSync(given.tokens).buffer.slice(0, 4 * given.promptTokens))];

async function decode() {
  await sequence.clearHistory();
  const ids = [];
  for await (const id of sequence.evaluate(prompt, { temperature: 0, yieldEogToken: true })) {
    ids.push(id);
    if (ids.length === given.newTokens) break;
  }
  return { tokens: ids.length };
}

const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
say({ ready: `llama.cpp ${llama.llamaCppRelease.release} (node-llama-cpp ${given.version})` });
// The driver asks for one run at a time.
createInterface({ input: process.stdin })
  .on('line', async () => say({ ok: await decode() }))
  .on('close', () => process.exit(0));

import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { GraphBuilder } from './graph-builder.js';
import { ModelProto } from './onnx-schema.js';
import { OnnxTooLarge, writeOnnx } from './write-onnx.js';

describe('writing ONNX', () => {
  let dir: string;

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'limbeck-write-onnx-'));
  });

  afterEach(async () => {
    await rm(dir, { recursive: true });
  });

  it('writes one message that the ONNX types read back whole', async () => {
    const graph = new GraphBuilder('doubling');
    graph.input('x', 'float32', ['n', 2]);
    const two = graph.stored({ name: 'two', elementType: 'float32', dims: [1, 2], read: () => Promise.resolve(new Uint8Array(Float32Array.of(2, 2).buffer)) });
    graph.node('Mul', ['x', two], { as: 'y' });
    graph.node('Softmax', ['y'], { as: 'z', attributes: { axis: { int: -1 } } });
    graph.output('z', 'float32', ['n', 2]);
    graph.stored({ name: 'two', elementType: 'float32', dims: [1, 2], read: () => Promise.reject(new Error('stored twice')) });
    await writeOnnx(join(dir, 'model.onnx'), graph.build());

    const bytes = await readFile(join(dir, 'model.onnx'));
    const model = ModelProto.toObject(ModelProto.decode(bytes), { longs: Number, bytes: Array });
    const value = (name: string): object => ({ name, type: { tensorType: { elemType: 1, shape: { dim: [{ dimParam: 'n' }, { dimValue: 2 }] } } } });
    expect(model).toEqual({
      irVersion: 11,
      opsetImport: [{ domain: '', version: 23 }],
      producerName: 'limbeck',
      graph: {
        name: 'doubling',
        node: [
          { name: 'Mul/y', opType: 'Mul', input: ['x', 'two'], output: ['y'] },
          { name: 'Softmax/z', opType: 'Softmax', input: ['y'], output: ['z'], attribute: [{ name: 'axis', type: 2, i: -1 }] },
        ],
        initializer: [{ name: 'two', dims: [1, 2], dataType: 1, rawData: [0, 0, 0, 64, 0, 0, 0, 64] }],
        input: [value('x')],
        output: [value('z')],
      },
    });
  });

  it('refuses more than a protobuf message can hold before it reads a tensor', async () => {
    const graph = new GraphBuilder('large');
    graph.stored({ name: 'half', elementType: 'float32', dims: [2 ** 15, 2 ** 13], read: () => Promise.reject(new Error('read')) });
    graph.stored({ name: 'other half', elementType: 'float32', dims: [2 ** 15, 2 ** 13], read: () => Promise.reject(new Error('read')) });
    await expect(writeOnnx(join(dir, 'model.onnx'), graph.build())).rejects.toThrow(OnnxTooLarge);
    expect(await readdir(dir)).toEqual([]);
  });

  it('leaves nothing behind when a tensor cannot be read or has another size than its shape', async () => {
    const broken = new GraphBuilder('broken');
    broken.stored({ name: 'w', elementType: 'float32', dims: [2], read: () => Promise.reject(new Error('the disk is gone')) });
    await expect(writeOnnx(join(dir, 'model.onnx'), broken.build())).rejects.toThrow('the disk is gone');
    const short = new GraphBuilder('short');
    short.stored({ name: 'w', elementType: 'float32', dims: [2], read: () => Promise.resolve(new Uint8Array(7)) });
    await expect(writeOnnx(join(dir, 'model.onnx'), short.build())).rejects.toThrow('tensor w has 7 bytes where its shape asks for 8');
    expect(await readdir(dir)).toEqual([]);
  });
});

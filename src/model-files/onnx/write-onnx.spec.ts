import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openSession } from '../../../test/support/onnx-graphs.js';
import { GraphBuilder } from './graph-builder.js';
import { ModelProto } from './onnx-schema.js';
import { writeOnnx } from './write-onnx.js';

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

  // Three tensors that lie apart, 80 KiB, 4 bytes more and 64 KiB, and one that is too small for it.
  const divided = () => {
    const graph = new GraphBuilder('divided');
    const sizes = { a: 20_480, tiny: 2, b: 20_481, c: 16_384 };
    const values = Object.fromEntries(Object.entries(sizes).map(([name, size], seed) => [name, Float32Array.from({ length: size }, (_, i) => ((i * 7 + seed * 13) % 101) - 50)]));
    for (const [name, floats] of Object.entries(values)) {
      graph.stored({ name, elementType: 'float32', dims: [floats.length], read: () => Promise.resolve(new Uint8Array(floats.buffer)) });
      graph.node('ReduceSum', [name], { as: `sum_${name}`, attributes: { keepdims: { int: 0 } } });
      graph.output(`sum_${name}`, 'float32', []);
    }
    return { graph: graph.build(), values };
  };
  const apart = 64 * 1024;

  it('divides what one file does not hold, so that onnxruntime and the ONNX types read it back whole', async () => {
    const { graph, values } = divided();
    const path = join(dir, 'model.onnx');
    // The second begins at 128 KiB, a whole step of 64 KiB behind the first, and ends at 212,996; the third would not end before this limit.
    expect(await writeOnnx(path, graph, { singleFile: 225_000, dataFile: 262_143, apart })).toBe(2);
    expect((await readdir(dir)).sort()).toEqual(['model.onnx', 'model.onnx_data', 'model.onnx_data_1']);
    expect((await stat(join(dir, 'model.onnx_data'))).size).toBe(212_996);
    expect((await stat(join(dir, 'model.onnx_data_1'))).size).toBe(65_536);
    const model = ModelProto.toObject(ModelProto.decode(await readFile(path)), { longs: Number, bytes: Array }) as { graph: { initializer: unknown[] } };
    const elsewhere = (name: string, size: number, location: string, offset: string) => ({
      name, dims: [size], dataType: 1, dataLocation: 1,
      externalData: [{ key: 'location', value: location }, { key: 'offset', value: offset }, { key: 'length', value: String(4 * size) }],
    });
    expect(model.graph.initializer).toEqual([
      elsewhere('a', 20_480, 'model.onnx_data', '0'),
      { name: 'tiny', dims: [2], dataType: 1, rawData: [...new Uint8Array(values.tiny.buffer)] },
      elsewhere('b', 20_481, 'model.onnx_data', '131072'),
      elsewhere('c', 16_384, 'model.onnx_data_1', '0'),
    ]);
    const session = await openSession(path);
    const sums = await session.run({});
    await session.release();
    for (const [name, floats] of Object.entries(values)) expect(sums[`sum_${name}`].data[0]).toBe(floats.reduce((sum, value) => sum + value, 0));
  });

  it('gives a tensor that is larger than a data file one of its own', async () => {
    expect(await writeOnnx(join(dir, 'model.onnx'), divided().graph, { singleFile: 1, dataFile: apart, apart })).toBe(3);
    expect((await stat(join(dir, 'model.onnx_data_1'))).size).toBe(4 * 20_481);
  });

  it('removes the data files of the model that it replaces, and no others', async () => {
    const path = join(dir, 'model.onnx');
    await writeFile(join(dir, 'model.onnx_data_old'), '');
    await writeFile(join(dir, 'teacher.onnx_data'), '');
    const { graph } = divided();
    await writeOnnx(path, graph, { singleFile: 1, dataFile: apart, apart });
    await writeOnnx(path, graph, { singleFile: 1, dataFile: 2 ** 20, apart });
    expect((await readdir(dir)).sort()).toEqual(['model.onnx', 'model.onnx_data', 'model.onnx_data_old', 'teacher.onnx_data']);
    expect(await writeOnnx(path, graph)).toBe(0);
    expect((await readdir(dir)).sort()).toEqual(['model.onnx', 'model.onnx_data_old', 'teacher.onnx_data']);
  });

  it('keeps the model that is there when one in several files fails', async () => {
    const path = join(dir, 'model.onnx');
    const limits = { singleFile: 1, dataFile: apart, apart };
    const { graph } = divided();
    await writeOnnx(path, graph, limits);
    const before = await Promise.all((await readdir(dir)).map(async (name) => [name, await readFile(join(dir, name))]));
    const tensors = graph.tensors.map((tensor) => ({ ...tensor, read: tensor.name === 'c' ? () => Promise.reject(new Error('the disk is gone')) : () => Promise.resolve(new Uint8Array(4 * tensor.dims[0])) }));
    await expect(writeOnnx(path, { ...graph, tensors }, limits)).rejects.toThrow('the disk is gone');
    expect(await Promise.all((await readdir(dir)).map(async (name) => [name, await readFile(join(dir, name))]))).toEqual(before);
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

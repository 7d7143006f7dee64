import { expect, it } from 'vitest';
import { loadKernels } from '../../../kernels/binding/kernels.js';
import { LaneCaches } from './lane-caches.js';

const kernels = loadKernels();
const SHAPE = { layers: 3, width: 4, maxLength: 300 };
/** Keys and values of all layers in bf16, and a sixteenth of a page's number. */
const POSITION_BYTES = 2 * 2 * SHAPE.layers * SHAPE.width + 4 / 16;

it('takes memory by classes of doubling width, keeps it for the next lane, and gives it up for a class that needs more', () => {
  const before = kernels.allocatedBytes();
  const caches = new LaneCaches(kernels, SHAPE);
  const positions = (): number => (kernels.allocatedBytes() - before) / POSITION_BYTES;
  caches.extend(0, 0, 17);
  expect(positions()).toBe(64);
  caches.extend(1, 0, 64);
  expect(positions()).toBe(2 * 64);
  expect(caches.extend(0, 17, 60).cache.columns).toBe(128); // outgrows its class, whose other lane keeps both slots
  expect(positions()).toBe(2 * 64 + 128);
  for (const lane of [0, 1, 2]) caches.forget(lane);
  caches.extend(3, 0, 5);
  expect(positions()).toBe(2 * 64 + 128);
  caches.forget(3);
  expect(caches.extend(4, 0, 290).cache.columns).toBe(304); // the longest lane in whole blocks; unused classes go
  expect(positions()).toBe(304);
  caches.free();
  expect(kernels.allocatedBytes()).toBe(before);
});

it('refuses a lane that holds another number of positions', () => {
  const caches = new LaneCaches(kernels, SHAPE);
  caches.extend(0, 0, 17);
  expect(() => caches.extend(0, 16, 1)).toThrow('lane 0 holds 17 positions where 16 were expected');
  expect(() => caches.extend(1, 3, 1)).toThrow('lane 1 holds 0 positions where 3 were expected');
  caches.free();
});

it('keeps what lanes hold when there is no memory for more slots', () => {
  const before = kernels.allocatedBytes();
  let isFull = false;
  const alloc: typeof kernels.alloc = (dtype, shape) => {
    if (isFull && dtype === 'i32') throw new Error('out of memory'); // the last that a class asks for
    return kernels.alloc(dtype, shape);
  };
  const caches = new LaneCaches({ ...kernels, alloc }, SHAPE);
  caches.extend(0, 0, 17);
  isFull = true;
  expect(() => caches.extend(1, 0, 17)).toThrow('out of memory');
  const pages = new Int32Array(4);
  kernels.read(caches.extend(0, 17, 1).cache.pages, pages);
  expect([...pages]).toEqual([0, 1, 2, 3]);
  isFull = false;
  expect(caches.extend(1, 0, 17).slot).toBe(1);
  caches.free();
  expect(kernels.allocatedBytes()).toBe(before);
});

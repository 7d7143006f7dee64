import { describe, expect, it } from 'vitest';
import { fasterRuntime } from './demo-teacher.js';

describe('fasterRuntime', () => {
  it.each([
    { ms: { onnx: 1000, native: 500 }, faster: 'native' },
    { ms: { onnx: 1000, native: 899 }, faster: 'native' },
    { ms: { onnx: 1000, native: 900 }, faster: 'onnx' },
    { ms: { onnx: 1000, native: 1000 }, faster: 'onnx' },
    { ms: { onnx: 500, native: 1000 }, faster: 'onnx' },
  ])('takes $faster where $ms was measured: native only when it is clearly faster', ({ ms, faster }) => {
    expect(fasterRuntime(ms)).toBe(faster);
  });
});

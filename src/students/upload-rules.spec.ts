import { describe, expect, it } from 'vitest';
import { hostileNames } from '../../test/support/hostile-names.js';
import { isModelName } from '../common/model-name.js';
import { isPlace } from '../storage/places.js';
import { checkName } from './students.service.js';
import { isUploadable, stagingFolder, uploadLimit } from './upload-rules.js';

describe('uploadLimit', () => {
  it('bounds configuration to a megabyte and weights to what the operator allows', () => {
    expect(uploadLimit('config.json', 2 ** 36)).toBe(1_000_000);
    expect(uploadLimit('model.safetensors', 2 ** 36)).toBe(2 ** 36);
    expect(uploadLimit('model-00001-of-00002.safetensors', 2 ** 36)).toBe(2 ** 36);
    expect(uploadLimit('config.json', 10)).toBe(10);
  });

  it.each(['model-1-of-2.safetensors', 'model.safetensors.bak', 'MODEL.SAFETENSORS', 'onnx/model.onnx', 'pytorch_model.bin', 'model.h5', 'config.json\n', 'x/config.json', 'constructor', '__proto__', ''])('knows no %j', (file) => {
    expect(isUploadable(file)).toBe(false);
    expect(() => uploadLimit(file, 1)).toThrow(expect.objectContaining({ code: 'models.file_refused' }));
  });
});

describe('10,000 hostile names', () => {
  it('are no model\'s unless they are harmless, and none but the known is a file', () => {
    for (const name of hostileNames()) {
      if (isModelName(name)) expect(isPlace(name)).toBe(true);
      else expect(() => checkName(name)).toThrow(expect.objectContaining({ code: 'models.name_invalid' }));
      expect(isUploadable(name)).toBe(name === 'config.json');
      expect(stagingFolder(name)).toMatch(/^[0-9a-f]{32}$/);
    }
  });
});

import { AppError } from '../../common/errors.js';

/** Another engine has the device. */
export class DeviceBusy extends AppError {
  readonly code = 'engine.device_busy';
  readonly kind = 'unavailable';
  constructor(device: string) {
    super(`another engine of this machine has the device ${device}; one device carries one engine at a time. Give each worker a device of its own (LIMBECK_DEVICE)`);
  }
}

export { cpuFlags } from '../../../kernels/binding/choose-library.js';

/** Stands in for the product's choice where specs run on the model of instructions. */
export function chooseLibrary(): 'model' {
  return 'model';
}

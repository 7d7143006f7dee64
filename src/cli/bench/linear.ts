import type { Kernels, Tensor } from '../../../kernels/binding/kernels.js';
import type { Case, Scope, Setting } from './case.js';
import { figure, type Figure } from './figure.js';
import { PRODUCT_NAMES } from './limits.js';
import { createProduct } from './onednn.js';
import { geometricMean } from './roofline.js';
import { SHAPES, type ShapeName } from './shapes.js';
import { blockLinears, linearProducts, productFlops, type LinearShape } from './step-products.js';
import { Tensors } from './tensors.js';
import { mediansInTurns } from './turns.js';

/** The three products of every linear layer of the students against oneDNN as it comes (plain operands), and their geometric mean. */
export function linearCase(models: readonly ShapeName[], rows: number, scope: Scope): Case {
  const shape = `${rows} rows`;
  return {
    name: 'gate linear',
    shape,
    scope,
    measure: (setting) => {
      const figures = models.flatMap((model) => blockLinears(SHAPES[model]).flatMap((linear) => againstOnednn(setting, linear, { model, rows })));
      const shares = figures.map(({ share }) => share);
      const judged = `${models.join(', ')}; ${shape}, three products`;
      return [
        figure({ name: 'gate linear', shape: judged, value: geometricMean(shares), unit: 'x oneDNN plain', limit: 1, goal: { atLeast: 1.3 } }),
        figure({ name: 'linear minimum', shape: judged, value: Math.min(...shares), unit: 'x oneDNN plain', limit: 1 }),
        ...figures,
      ];
    },
  };
}

function againstOnednn(setting: Setting, linear: LinearShape, { model, rows }: { model: ShapeName; rows: number }): Figure[] {
  const { kernels, probes, rounds } = setting;
  const tensors = new Tensors(kernels);
  const works = linearWorks(kernels, tensors, linear, rows);
  const figures = linearProducts(linear, rows).map((product, kind) => {
    const plain = createProduct(probes, product, 'plain');
    const [ours, limit] = mediansInTurns(rounds, [works[kind], () => probes.runProduct(plain)]);
    probes.freeProduct(plain);
    const gigaflops = productFlops(product) / 1e9;
    return figure({ name: `linear ${PRODUCT_NAMES[kind]}`, shape: `${model} ${linear.name}, ${rows} rows`, value: gigaflops / ours, unit: 'GFLOP/s', limit: gigaflops / limit });
  });
  tensors.free();
  return figures;
}

/** The three calls of a linear layer on random operands: forward, gradient of the input, gradient of the weight. */
export function linearWorks(kernels: Kernels, tensors: Tensors, { outWidth, inWidth, isFloat32Output }: Omit<LinearShape, 'name'>, rows: number): readonly [() => void, () => void, () => void] {
  const x: Tensor = tensors.random('bf16', [rows, inWidth]);
  const weight = tensors.random('bf16', [outWidth, inWidth]);
  const dout = tensors.random('bf16', [rows, outWidth]);
  const out = tensors.zeros(isFloat32Output ? 'f32' : 'bf16', [rows, outWidth]);
  const dx = tensors.zeros('bf16', [rows, inWidth]);
  const dweight = tensors.zeros('f32', [outWidth, inWidth]);
  return [
    () => kernels.linearForward(x, weight, out),
    () => kernels.linearBackwardInput(dout, weight, dx),
    () => kernels.linearBackwardWeight(dout, x, dweight),
  ];
}

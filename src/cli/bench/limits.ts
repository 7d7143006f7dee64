import type { Case, Scope, Setting } from './case.js';
import { figure, type Figure } from './figure.js';
import { bestRate } from './onednn.js';
import { SHAPES, type ShapeName } from './shapes.js';
import { blockLinears, linearProducts } from './step-products.js';

/** Passes of a memory probe. */
const MEMORY_PASSES = 7;
/** Of the mixed probe, as large together as the one that is read. */
const MIXED_STREAMS = 3;
export const PRODUCT_NAMES = ['forward', 'backward input', 'backward weight'] as const;

/** Bytes/s that memory is read with; as the two other limits, measured anew wherever it judges. */
export function readRate({ probes, probedBytes }: Setting): number {
  return probes.memoryRead(probedBytes, MEMORY_PASSES);
}

/** Bytes/s of two streams read and one written. */
export function mixedRate({ probes, probedBytes }: Setting): number {
  return probes.memoryMixed(probedBytes / MIXED_STREAMS, MEMORY_PASSES);
}

/** What this machine can do at all. */
export function machineCase(shape: string, scope: Scope): Case {
  return { name: 'limit machine', shape, scope, measure: measureMachine };
}

function measureMachine(setting: Setting): Figure[] {
  const peak = setting.probes.registerPeak() / 1e9;
  const read = readRate(setting) / 1e9;
  const mixed = mixedRate(setting) / 1e9;
  const streams = (count: number) => `${count} x ${Math.round(setting.probedBytes / count / 2 ** 20)} MiB`;
  return [
    figure({ name: 'limit register peak', shape: setting.probes.peakInstructions, value: peak, unit: 'GFLOP/s', limit: peak }),
    figure({ name: 'limit memory read', shape: streams(1), value: read, unit: 'GB/s', limit: Math.max(read, mixed) }),
    figure({ name: 'limit memory mixed', shape: `${streams(MIXED_STREAMS)}, two read and one written`, value: mixed, unit: 'GB/s', limit: Math.max(read, mixed) }),
  ];
}

/** oneDNN on the three products of every linear layer of a block, plain and packed, beside what the registers can do. */
export function onednnLimits(model: ShapeName, rows: number, scope: Scope): Case {
  const name = 'limit oneDNN';
  return {
    name,
    shape: `${model}, ${rows} rows`,
    scope,
    measure: ({ probes }) => {
      const peak = probes.registerPeak() / 1e9;
      return blockLinears(SHAPES[model]).flatMap((linear) =>
        linearProducts(linear, rows).flatMap((product, kind) =>
          (['plain', 'packed'] as const).map((packing): Figure => {
            const value = bestRate(probes, product, packing) / 1e9;
            return figure({ name: `${name} ${packing}`, shape: `${model} ${linear.name} ${PRODUCT_NAMES[kind]}, ${rows} rows`, value, unit: 'GFLOP/s', limit: peak });
          }),
        ),
      );
    },
  };
}

import { ATTRIBUTE_TYPES, ELEMENT_TYPES, type AttributeMessage, type ElementType, type NodeMessage, type ValueInfoMessage } from './onnx-schema.js';

/** The name of a tensor inside a graph. */
export type Value = string;

/** A size, or the name of one that is known only at run time. */
export type Dimension = number | string;

/** A node's attribute; ONNX tells whole numbers and fractions apart, JavaScript does not. */
export type Attribute = { readonly int: number } | { readonly ints: readonly number[] } | { readonly float: number };

/** A tensor stored in the file. `read` gives its row-major little-endian bytes and is called once, when they are written. */
export interface StoredTensor {
  readonly name: string;
  readonly elementType: ElementType;
  readonly dims: readonly number[];
  readonly read: () => Promise<Uint8Array>;
}

/** A graph as the messages of `onnx.proto`, its stored tensors still unread. */
export interface OnnxGraph {
  readonly name: string;
  readonly nodes: readonly NodeMessage[];
  readonly inputs: readonly ValueInfoMessage[];
  readonly outputs: readonly ValueInfoMessage[];
  readonly tensors: readonly StoredTensor[];
}

interface NodeOptions {
  readonly attributes?: Readonly<Record<string, Attribute>>;
  /** Name of the result; without it one is made from the operator and a counter. */
  readonly as?: Value;
}

/** Collects the nodes of one graph in the order they are computed. Operators and their inputs are those of opset 23; `''` leaves an optional input out. */
export class GraphBuilder {
  private readonly nodes: NodeMessage[] = [];
  private readonly inputs: ValueInfoMessage[] = [];
  private readonly outputs: ValueInfoMessage[] = [];
  private readonly tensors = new Map<Value, StoredTensor>();

  constructor(private readonly name: string) {}

  input(name: Value, elementType: ElementType, dims: readonly Dimension[]): Value {
    this.inputs.push(valueInfo(name, elementType, dims));
    return name;
  }

  /** Declares `name`, which some node computes, as a result of the graph. */
  output(name: Value, elementType: ElementType, dims: readonly Dimension[]): void {
    this.outputs.push(valueInfo(name, elementType, dims));
  }

  /** Stores a tensor once, however often it is asked for by name. */
  stored(tensor: StoredTensor): Value {
    if (!this.tensors.has(tensor.name)) this.tensors.set(tensor.name, tensor);
    return tensor.name;
  }

  /** A stored int64 vector. */
  ints(...values: readonly number[]): Value {
    const bytes = new Uint8Array(BigInt64Array.from(values, BigInt).buffer);
    return this.stored({ name: `ints_${values.join('_')}`, elementType: 'int64', dims: [values.length], read: () => Promise.resolve(bytes) });
  }

  /** A stored int64 scalar. */
  int(value: number): Value {
    const bytes = new Uint8Array(BigInt64Array.of(BigInt(value)).buffer);
    return this.stored({ name: `int_${value}`, elementType: 'int64', dims: [], read: () => Promise.resolve(bytes) });
  }

  /** A stored float32 scalar. */
  float(value: number): Value {
    const bytes = new Uint8Array(Float32Array.of(value).buffer);
    return this.stored({ name: `float_${value}`, elementType: 'float32', dims: [], read: () => Promise.resolve(bytes) });
  }

  /** Adds a node with one result. */
  node(operator: string, inputs: readonly Value[], options: NodeOptions = {}): Value {
    const result = options.as ?? `${operator}_${this.nodes.length}`;
    this.nodeWithResults(operator, inputs, { attributes: options.attributes, as: [result] });
    return result;
  }

  /** Adds a node whose results are named by the caller. */
  nodeWithResults(operator: string, inputs: readonly Value[], options: { readonly attributes?: Readonly<Record<string, Attribute>>; readonly as: readonly Value[] }): void {
    const attribute = Object.entries(options.attributes ?? {}).map(([name, value]) => attributeMessage(name, value));
    this.nodes.push({ name: `${operator}/${options.as[0]}`, opType: operator, input: inputs, output: options.as, attribute });
  }

  build(): OnnxGraph {
    return { name: this.name, nodes: this.nodes, inputs: this.inputs, outputs: this.outputs, tensors: [...this.tensors.values()] };
  }
}

function attributeMessage(name: string, value: Attribute): AttributeMessage {
  if ('int' in value) return { name, type: ATTRIBUTE_TYPES.int, i: value.int };
  if ('ints' in value) return { name, type: ATTRIBUTE_TYPES.ints, ints: value.ints };
  return { name, type: ATTRIBUTE_TYPES.float, f: value.float };
}

function valueInfo(name: string, elementType: ElementType, dims: readonly Dimension[]): ValueInfoMessage {
  const dim = dims.map((size) => (typeof size === 'number' ? { dimValue: size } : { dimParam: size }));
  return { name, type: { tensorType: { elemType: ELEMENT_TYPES[elementType], shape: { dim } } } };
}

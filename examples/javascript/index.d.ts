import type { Asked } from "./facts.js";

export type { Asked };

/** Something that can be asked of a picture: its values, and which number of the noise chooses one; null where none does. */
export interface Attribute {
  readonly name: string;
  readonly labels: readonly string[];
  readonly coordinate: number | null;
}

/** What is known of the model; a code's and an encoding's arrays are given as name: length. */
export interface Facts {
  readonly name: string;
  readonly version: string;
  readonly licence: string;
  readonly dataset: string;
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  /** How many numbers a row of noise has. */
  readonly noise: number;
  /** What the decoder takes: `z`, and `y` where a class is given beside it. */
  readonly code: Readonly<Record<string, number>>;
  /** The names of the classes, by number; empty where there are none. */
  readonly labels: readonly string[];
  /** Which number of the noise chooses the class; null where none does. */
  readonly labelCoordinate: number | null;
  /** What can be asked for at once, in the order of `y`; the classes of a model that has `labels` are "label". */
  readonly attributes: readonly Attribute[];
  /** Whether the model is a detector, which scores images. */
  readonly detects: boolean;
}

export const facts: Facts;

/** `channels * height * width` numbers in [0, 1], channel by channel, row by row. */
export type Image = Float32Array;

/** A place in the code: `z`, `y` (probabilities of the classes) where the model has it, and what else a graph tells. */
export type Code = { readonly z: Float32Array; readonly y?: Float32Array | undefined; readonly [name: string]: Float32Array | undefined };

/** How odd an image is, odd above 1, and where: `height * width` numbers, greatest where it is odd. */
export interface Score {
  readonly score: number;
  readonly map: Float32Array;
}

export interface Draw {
  /** An integer: the same one draws the same. Left out, every call draws afresh. */
  seed?: number | undefined;
  /** The number of the class to draw, an index of `facts.labels`. */
  label?: number | undefined;
  /** What else to draw, such as `{ glasses: "yes" }`: values by name or number. What is left out is drawn by chance. */
  attributes?: Asked | undefined;
}

export interface Redraw {
  /** What to redraw, such as `{ glasses: "yes" }`: values by name or number. The rest of the codes is kept. */
  attributes?: Asked | undefined;
}

/** What computes: "node" in Node.js; "webgpu" or "wasm" in a browser. */
export type Device = "node" | "webgpu" | "wasm";

export interface Options {
  /** In a browser: which one to use. Left out, WebGPU where the browser has it, else WebAssembly. */
  device?: "webgpu" | "wasm" | undefined;
}

/** Open the model. Rejects where its files cannot be read, or the device that is asked for is not there. */
export function load(options?: Options): Promise<Model>;

/** The model's graphs, open; from `load`. */
export class Model {
  private constructor();
  readonly device: Device;

  /** Draw images. Rejects with a RangeError for a count or seed that is no whole number, and an unknown label, attribute or value. */
  sample(count?: number, options?: Draw): Promise<Image[]>;

  /** The codes that the prior makes of rows of noise. */
  codes(u: readonly Float32Array[]): Promise<Code[]>;

  /** The codes of images. Rejects with a RangeError where an image has another size. */
  encode(images: readonly Image[]): Promise<Code[]>;

  /** The images of codes. Rejects with a RangeError where a code lacks what the decoder takes. */
  decode(codes: readonly Code[]): Promise<Image[]>;

  /** Encode and decode. Rejects with a RangeError where there is no such attribute or value, or the decoder takes none. */
  reconstruct(images: readonly Image[], options?: Redraw): Promise<Image[]>;

  /** How odd images are, and where. Rejects with an Error where the model is not a detector. */
  score(images: readonly Image[]): Promise<Score[]>;
}

/** Rows of uniform noise in (0, 1), of which `codes` makes codes. Throws a RangeError where `sample` rejects with one. */
export function noise(count?: number, options?: Draw): Float32Array[];

/** The bytes of a file: `Uint8Array<ArrayBuffer>`, which `Blob` takes, and `Uint8Array` to TypeScript before 5.7. */
type Bytes = ReturnType<Uint8Array["slice"]>;

/** An image as a PNG file, gray or RGB. Rejects with a RangeError where it has another size. */
export function png(image: Image): Promise<Bytes>;

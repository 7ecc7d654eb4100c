// A model of aae-zoo in Node.js (onnxruntime-node) and in browsers (onnxruntime-web): draws, encodes, decodes, scores.
// Model: any of aae-zoo; what differs between models is in facts.js.
import { open } from "#platform";
import facts, { detector } from "./facts.js";

export { facts };

// Written out one by one: bundlers find the files by these lines.
const GRAPHS = {
  prior: new URL("./prior.onnx", import.meta.url),
  decoder: new URL("./decoder.onnx", import.meta.url),
  encoder: new URL("./encoder.onnx", import.meta.url),
  ...(detector && { detector }),
};
const IMAGE = [facts.channels, facts.height, facts.width];

export async function load({ device } = {}) {
  return new Model(await open(GRAPHS, device));
}

export class Model {
  #ort;
  #sessions;

  constructor({ ort, sessions, device }) {
    [this.#ort, this.#sessions, this.device] = [ort, sessions, device];
  }

  async sample(count = 1, options = {}) {
    return this.decode(await this.codes(noise(count, options)));
  }

  async codes(u) {
    return this.#run("prior", { u: this.#stack(u, [facts.noise]) });
  }

  async encode(images) {
    return this.#run("encoder", { image: this.#stack(images, IMAGE) });
  }

  async decode(codes) {
    const inputs = Object.entries(facts.code).map(([name, size]) => {
      return [name, this.#stack(codes.map((code) => code[name]), [size])];
    });
    return (await this.#run("decoder", Object.fromEntries(inputs))).map(({ image }) => image);
  }

  async reconstruct(images, { attributes = {} } = {}) {
    const codes = await this.encode(images);
    for (const [name, value] of wanted(attributes)) {
      const { number, labels, start } = find(name, value);
      if (!facts.code.y || !codes.every(({ y }) => y)) throw new RangeError(`${facts.name} redraws nothing with another ${name}`);
      for (const { y } of codes) y.fill(0, start, start + labels.length)[start + number] = 1;
    }
    return this.decode(codes);
  }

  async score(images) {
    if (!detector) throw new Error(`${facts.name} is not a detector`);
    const found = await this.#run("detector", { image: this.#stack(images, IMAGE) });
    return found.map(({ score, map }) => ({ score: score[0], map }));
  }

  /** What a graph gives for a batch, row by row: each an object of arrays by name. */
  async #run(role, inputs) {
    const outputs = Object.entries(await this.#sessions[role].run(inputs));
    const [count] = Object.values(inputs)[0].dims;
    const row = ({ data }, i) => data.slice((i * data.length) / count, ((i + 1) * data.length) / count);
    return Array.from({ length: count }, (_, i) => Object.fromEntries(outputs.map(([name, t]) => [name, row(t, i)])));
  }

  /** A batch as one tensor. */
  #stack(rows, shape) {
    const size = product(shape);
    const all = new Float32Array(rows.length * size);
    rows.forEach((row, i) => {
      checkSize(row, `row ${i}`, shape);
      all.set(row, i * size);
    });
    return new this.#ort.Tensor("float32", all, [rows.length, ...shape]);
  }
}

/** Uniform in (0, 1): a counter through MurmurHash3's finaliser. Any generator will do; every example has this one. */
export function noise(count = 1, { seed = Math.floor(Math.random() * 2 ** 32), label, attributes } = {}) {
  if (!Number.isInteger(count) || count < 0) throw new RangeError(`the count is ${count}, expected a whole number from 0`);
  if (!Number.isInteger(seed)) throw new RangeError(`the seed is ${seed}, expected a whole number`);
  const uniform = (i) => {
    let x = (Math.imul(seed, 0x9e3779b9) + i + 1) >>> 0;
    x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
    x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
    return ((((x ^ (x >>> 16)) >>> 9) * 2 + 1) / 2 ** 24);
  };
  const rows = Array.from({ length: count }, (_, row) => {
    return Float32Array.from({ length: facts.noise }, (_, i) => uniform(row * facts.noise + i));
  });
  for (const [name, value] of wanted({ ...attributes, ...(label !== undefined && { label }) })) {
    const { number, labels, coordinate: at } = find(name, value);
    if (at === null) throw new RangeError(`${facts.name} draws every ${name} by chance`);
    // One number of each row chooses the value: the interval (k, k + 1) / values is value k.
    for (const row of rows) row[at] = (number + 0.5 + 0.99 * (row[at] - 0.5)) / labels.length;
  }
  return rows;
}

/** What is asked for, with its values; what is left undefined is not. */
const wanted = (attributes) => Object.entries(attributes).filter(([, value]) => value !== undefined);

const product = (shape) => shape.reduce((a, b) => a * b);

function checkSize(numbers, what, shape) {
  const found = numbers?.length ?? "no";
  if (found !== product(shape)) throw new RangeError(`${what} has ${found} numbers, expected ${product(shape)} (${shape})`);
}

/** The attribute of a name, where its part of `y` begins, and the number of a value, which a text names or, else, counts. */
function find(name, value) {
  let start = 0;
  for (const attribute of facts.attributes) {
    const { labels } = attribute;
    if (attribute.name === name) {
      const named = typeof value === "string" ? labels.indexOf(value) : -1;
      const number = named < 0 ? labels.findIndex((_, k) => String(k) === String(value)) : named;
      if (number < 0) throw new RangeError(`${facts.name} has no ${name} ${value}; it has ${labels.join(", ")}`);
      return { ...attribute, number, start };
    }
    start += labels.length;
  }
  const names = facts.attributes.map((attribute) => attribute.name).join(", ") || "nothing";
  throw new RangeError(`${facts.name} has no ${name} ${value}; it can be asked for ${names}`);
}

/** An image as a PNG file. */
export async function png(image) {
  checkSize(image, "the image", IMAGE);
  const { channels, height, width } = facts;
  const line = 1 + width * channels; // a byte that says "as it is" begins each
  const pixels = new Uint8ClampedArray(height * line);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      for (let c = 0; c < channels; c++)
        pixels[y * line + 1 + x * channels + c] = image[(c * height + y) * width + x] * 255;
  const packed = new Blob([pixels]).stream().pipeThrough(new CompressionStream("deflate"));
  const header = new DataView(new ArrayBuffer(13));
  header.setUint32(0, width);
  header.setUint32(4, height);
  header.setUint16(8, 0x0800 + (channels === 1 ? 0 : 2)); // 8 bits; gray or RGB
  const chunks = [["IHDR", header.buffer], ["IDAT", await new Response(packed).arrayBuffer()], ["IEND", []]];
  const signature = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
  return Uint8Array.from([signature, ...chunks.map(([name, data]) => chunk(name, new Uint8Array(data)))].flatMap((part) => [...part]));
}

function chunk(name, data) {
  const bytes = new Uint8Array(12 + data.length);
  bytes.set(new TextEncoder().encode(name), 4);
  bytes.set(data, 8);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, data.length);
  view.setUint32(8 + data.length, crc32(bytes.subarray(4, 8 + data.length)));
  return bytes;
}

function crc32(bytes) {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}

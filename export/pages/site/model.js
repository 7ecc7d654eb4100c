// The model: its facts (model.json), and its graphs in ONNX Runtime, which load while the page shows pictures already.

export const model = await (await fetched("model.json")).json();
export const [channels, height, width] = model.image;
export const size = channels * height * width;
export const inPlane = model.latent === 2;
/** How many numbers y has: those of each attribute begin at its `first`. */
export const classes = model.attributes.reduce((sum, { labels }) => sum + labels.length, 0);
/** The classes y with the value k of an attribute in place of its own. */
export const withValue = (y, { first, labels }, k) =>
  Float32Array.from(y, (p, i) => (i < first || i >= first + labels.length ? p : Number(i === first + k)));
/** The classes as a conditional decoder takes them, of the number of each attribute's value. */
export const oneHot = (numbers) =>
  model.attributes.reduce((y, attribute, i) => withValue(y, attribute, numbers[i]), new Float32Array(classes));
/** The number of each attribute's most probable value. */
export const mostProbable = (y) =>
  model.attributes.map(({ first, labels }) => {
    const part = y.slice(first, first + labels.length);
    return part.indexOf(Math.max(...part));
  });

let ort, prior, decoder, encoder, detector, draws;

/** The answer of the server that has a file of the page. */
export async function fetched(file) {
  const answer = await fetch(file).catch(({ message }) => ({ status: message }));
  if (!answer.ok) throw Error(`${file} could not be fetched (${answer.status})`);
  return answer;
}

async function bytes(file, onBytes = () => {}) {
  const counted = new TransformStream({
    transform(chunk, controller) {
      onBytes(chunk.length);
      controller.enqueue(chunk);
    },
  });
  return new Uint8Array(await new Response((await fetched(file)).body.pipeThrough(counted)).arrayBuffer());
}

/** What gzip packed; a server that says so itself has the browser unpack it, and then there is nothing to do. */
async function unpacked(packed) {
  if (packed[0] !== 0x1f || packed[1] !== 0x8b) return packed;
  return new Uint8Array(await new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer());
}

/** Loads ONNX Runtime, the prior and the decoder; `onBytes` is told how many bytes have come, of model.bytes. */
export async function load(onBytes) {
  let come = 0;
  const count = (more) => onBytes((come += more));
  const runtime = import("./ort/ort.wasm.bundle.min.js");
  const wasm = bytes(new URL("ort/ort-wasm-simd-threaded.wasm.gz", import.meta.url), count).then(unpacked);
  const graphs = Promise.all(["prior", "decoder"].map((role) => bytes(`${role}.onnx`, count)));
  ort = await runtime;
  ort.env.wasm.numThreads = 1; // more would need the server's COOP and COEP headers
  [ort.env.wasm.wasmBinary, [prior, decoder]] = await Promise.all([wasm, graphs]);
  prior = await ort.InferenceSession.create(prior);
  decoder = await ort.InferenceSession.create(decoder);
}

/** Loads what encodes and scores pictures, once; where that fails it can be tried again. */
export const loadEncoder = once(async () => {
  encoder = await ort.InferenceSession.create(await bytes("encoder.onnx"));
  if (model.detector) detector = await ort.InferenceSession.create(await bytes("detector.onnx"));
  else if (model.score) draws = new Float32Array((await bytes("draws.bin")).buffer);
});

function once(work) {
  let done = null;
  return () =>
    (done ??= work().catch((error) => {
      done = null;
      throw error;
    }));
}

const tensor = (values, ...shape) => new ort.Tensor("float32", values, [values.length / shape.reduce((a, b) => a * b, 1), ...shape]);

let last = Promise.resolve();

/** Runs a session after all runs before it: ONNX Runtime's one thread has one stack, and two runs would share it. */
function run(session, inputs) {
  const outputs = last.then(() => session.run(inputs));
  last = outputs.catch(() => {});
  return outputs;
}

/** The code { z, y } of noise; y is null where the decoder takes no class. */
export async function drawPrior(noise) {
  const { z, y } = await run(prior, { u: tensor(noise, model.noise) });
  return { z: z.data, y: model.conditional ? y.data : null };
}

/** The images of codes z, row after row; y, if any, is one class for all of them or one for each. */
export async function decode(z, y) {
  const inputs = { z: tensor(z, model.latent) };
  if (y) {
    const all = new Float32Array((z.length / model.latent) * classes);
    for (let i = 0; i < all.length; i++) all[i] = y[i % y.length];
    inputs.y = tensor(all, classes);
  }
  return (await run(decoder, inputs)).image.data;
}

/** The code { z, y } of an image; y is null where the encoder reads no class. */
export async function encode(image) {
  const { z, y } = await run(encoder, { image: tensor(image, channels, height, width) });
  return { z: z.data, y: y?.data ?? null };
}

/** The detector's { score, map } of an image: it is odd above 1, and the map is greatest where it is. */
export async function detect(image) {
  const { score, map } = await run(detector, { image: tensor(image, channels, height, width) });
  return { score: score.data[0], map: map.data };
}

/** One code redrawn with every value of every attribute in turn: { i, k, y, image } for value k of attribute i. */
export async function withEachValue(z, y) {
  const each = model.attributes.flatMap((attribute, i) => attribute.labels.map((_, k) => ({ i, k, y: withValue(y, attribute, k) })));
  const codes = Float32Array.from({ length: each.length * z.length }, (_, j) => z[j % z.length]);
  const images = await decode(codes, Float32Array.from(each.flatMap((one) => [...one.y])));
  return each.map((one, j) => ({ ...one, image: images.subarray(j * size, (j + 1) * size) }));
}

/** The draws of the prior [n * latent] that the anomaly score measures distances from; there once the encoder is. */
export const priorDraws = () => draws;

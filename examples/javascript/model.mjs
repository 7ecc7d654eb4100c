// Draws with a model of aae-zoo in Node (onnxruntime-node) and in browsers (onnxruntime-web), whose interface is the same.

/** The metadata of a graph by key, which ONNX Runtime's JavaScript does not give: field 14 of the protobuf ModelProto. */
export function metadata(graph) {
  const found = {};
  for (const [field, entry] of fields(graph)) {
    if (field !== 14) continue;
    const [key, value] = [...fields(entry)].map(([, text]) => new TextDecoder().decode(text));
    found[key] = value ?? "";
  }
  return found;
}

/** The fields of a protobuf message that have a length: pairs of number and bytes. */
function* fields(bytes) {
  let at = 0;
  const varint = () => {
    let [value, scale] = [0, 1];
    for (;; scale *= 128) {
      const byte = bytes[at++];
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const key = varint();
    if ((key & 7) === 0) varint();
    else if ((key & 7) === 2) {
      const length = varint();
      yield [key >> 3, bytes.subarray(at, (at += length))];
    } else at += (key & 7) === 1 ? 8 : 4;
  }
}

/** Uniform in (0, 1): a counter through MurmurHash3's finaliser. Any generator will do; every example has this one. */
export function noise(seed, size) {
  return Float32Array.from({ length: size }, (_, i) => {
    let x = (Math.imul(seed, 0x9e3779b9) + i + 1) >>> 0;
    x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
    x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
    x = (x ^ (x >>> 16)) >>> 0;
    return ((x >>> 9) * 2 + 1) / 2 ** 24;
  });
}

/** Open a model from the bytes of its two graphs; `ort` is the module onnxruntime-node or onnxruntime-web. */
export async function open(ort, prior, decoder) {
  const facts = metadata(prior);
  const [channels, height, width] = JSON.parse(facts["aae_zoo.image_shape"]);
  return {
    ort,
    channels,
    height,
    width,
    name: facts["aae_zoo.name"],
    labels: JSON.parse(facts["aae_zoo.labels"]),
    coordinate: facts["aae_zoo.label_coordinate"] === "" ? null : Number(facts["aae_zoo.label_coordinate"]),
    size: Number(facts["aae_zoo.noise"]),
    prior: await ort.InferenceSession.create(prior),
    decoder: await ort.InferenceSession.create(decoder),
  };
}

/** Draw one image, of the class numbered `label` where it is not null: everything on the way to it, by name. */
export async function draw(model, seed, label = null) {
  const u = noise(seed, model.size);
  if (label !== null) {
    // one coordinate of the noise chooses the class: the interval (k, k + 1) / classes is class k
    const { coordinate: c, labels } = model;
    if (c === null || !(label in labels)) throw Error(`${model.name} has no label ${label}; its labels are ${labels}`);
    u[c] = (label + 0.5 + 0.99 * (u[c] - 0.5)) / labels.length;
  }
  const codes = await model.prior.run({ u: new model.ort.Tensor("float32", u, [1, u.length]) });
  const { image } = await model.decoder.run(codes); // [1, channels, height, width], each in [0, 1]
  return { u, ...Object.fromEntries(Object.entries(codes).map(([name, z]) => [name, z.data])), image: image.data };
}

/** The numbers of a drawing as the other examples print them. */
export function report(model, { image, ...rest }) {
  const row = model.height >> 1;
  const rows = Array.from({ length: model.channels }, (_, c) => c * model.height + row).map((r) => r * model.width);
  const middle = rows.flatMap((start) => [...image.slice(start, start + model.width)]);
  const mean = [image.reduce((a, b) => a + b) / image.length];
  const line = ([name, values]) => [name, ...Array.from(values, (value) => value.toFixed(6))].join(" ");
  return Object.entries({ ...rest, mean, middle }).map(line).join("\n");
}

/** The image's bytes, pixel by pixel, its channels together. */
export function pixels({ channels, height, width }, image) {
  const size = height * width;
  const byte = (i) => image[(i % channels) * size + Math.floor(i / channels)] * 255 + 0.5;
  return Uint8Array.from({ length: size * channels }, (_, i) => byte(i));
}

// What draw.js and the page show: one drawing, step by step, in numbers that every language's example prints.
import { facts, noise } from "./index.js";

/** Draw one image and encode it again: the image, the model's reconstruction of it, and the numbers as text. */
export async function report(model, options) {
  const u = noise(1, options);
  const codes = await model.codes(u);
  const images = await model.decode(codes);
  const encoded = (await model.encode(images)).map((code) => ({ ...codes[0], ...code })); // y stays where no encoder tells it
  const redrawn = await model.decode(encoded);
  const [image] = images;
  const values = {
    u: u[0],
    ...codes[0],
    mean: [image.reduce((a, b) => a + b) / image.length],
    middle: middle(image),
    encoded: encoded[0].z,
    redrawn: middle(redrawn[0]),
  };
  if (facts.detects) {
    const [{ score, map }] = await model.score(images);
    const start = (facts.height >> 1) * facts.width;
    Object.assign(values, { score: [score], odd: map.subarray(start, start + facts.width) });
  }
  const line = ([name, numbers]) => [name, ...Array.from(numbers, (value) => value.toFixed(6))].join(" ");
  return { image, redrawn: redrawn[0], text: Object.entries(values).map(line).join("\n") };
}

/** The middle row of every channel. */
function middle(image) {
  const { channels, height, width } = facts;
  const starts = Array.from({ length: channels }, (_, c) => (c * height + (height >> 1)) * width);
  return starts.flatMap((start) => [...image.subarray(start, start + width)]);
}

// What the page shows: a code and its picture, from the atlas until the decoder has come, decoded from then on.
// `globalThis.aaeZoo` has what is shown, for the console and for tests; its image is null until it is decoded.
import { decode, height, inPlane, model, mostProbable, oneHot, width } from "./model.js";
import { $, newest, paint, say, text } from "./pictures.js";

/** { z, y, image }: the code, the classes that a conditional decoder takes or null, the picture. */
export let shown = null;
let live = false;
const listeners = [];

/** Calls `listener` with what is shown, whenever it is another code. */
export const whenShown = (listener) => listeners.push(listener);
export const isLive = () => live;

export const show = newest(async (z, y, said) => {
  const image = live ? await decode(z, y) : null;
  shown = { z: Float32Array.from(z), y: y && Float32Array.from(y), image };
  globalThis.aaeZoo = { name: model.name, ...shown };
  if (image) paint($("picture"), image);
  else paintFromAtlas(shown);
  const code = z.length > 8 ? `a code of ${z.length} numbers` : `the code ${text(z)}`;
  $("picture").setAttribute("aria-label", `Picture decoded from ${code}`);
  $("where").textContent = z.length > 4 ? "" : `Code ${text(z)}`;
  for (const listener of listeners) listener(shown);
  if (said) say(said);
});

/** From now on pictures are decoded. */
export async function goLive() {
  live = true;
  await show(shown.z, shown.y);
}

/** The code { z, y } of a sample on the wall. */
export function sampleCode(number) {
  const { z, label } = model.wall;
  return { z: Float32Array.from(z[number]), y: label && oneHot(label[number]) };
}

function paintFromAtlas(code) {
  const canvas = $("picture");
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d");
  if (inPlane && !code.y) blendPlane(context, code.z);
  else copySample(context, nearestSample(code));
}

function nearestSample({ z, y }) {
  const { z: codes, label } = model.wall;
  const wanted = y ? mostProbable(y) : null;
  const other = (k) => (y ? label[k].filter((value, i) => value !== wanted[i]).length : 0);
  const distance = (code, k) => code.reduce((sum, value, i) => sum + (value - z[i]) ** 2, 1e6 * other(k));
  const distances = codes.map(distance);
  return distances.indexOf(Math.min(...distances));
}

function copySample(context, number) {
  const { columns, rows } = model.wall;
  const picture = $("wall-picture");
  const [w, h] = [picture.naturalWidth / columns, picture.naturalHeight / rows];
  context.drawImage(picture, (number % columns) * w, Math.floor(number / columns) * h, w, h, 0, 0, width, height);
}

/** The four pictures of the plane around a code, each the stronger the nearer it is. */
function blendPlane(context, [x, y]) {
  const { low, high, cells } = model.plane;
  const picture = $("plane-atlas");
  const [w, h] = [picture.naturalWidth / cells, picture.naturalHeight / cells];
  const place = (value) => Math.min(cells - 1, Math.max(0, (cells * (value - low)) / (high - low) - 0.5));
  const [column, row] = [place(x), cells - 1 - place(y)];
  context.fillRect(0, 0, width, height);
  context.globalCompositeOperation = "lighter";
  for (const i of [Math.floor(column), Math.floor(column) + 1])
    for (const k of [Math.floor(row), Math.floor(row) + 1]) {
      context.globalAlpha = Math.max(0, 1 - Math.abs(column - i)) * Math.max(0, 1 - Math.abs(row - k));
      if (context.globalAlpha) context.drawImage(picture, i * w, k * h, w, h, 0, 0, width, height);
    }
}

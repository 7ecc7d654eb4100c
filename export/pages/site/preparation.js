// From a picture to an image of the model, as runtime/formats/preparation.py does it, step by step and name by name.

const MOST = 1024;
const FILLED = 8;
const LOOK = 128;
const VISIBLE = 26;
const MOST_OF_BORDER = 0.75;
const APART = 0.2;
const STANDS_OUT = 0.01;

/**
 * What RGBA pixels { data, width, height }, upright, are to the model: its image, Float32Array [C * H * W] in [0, 1],
 * and whether it was inverted. `model` has image [C, H, W] and preparation { fit, ground, polarity, share }; `invert` is
 * "auto", "yes" or "no".
 */
export function prepare(pixels, { image: [channels, rows, columns], preparation }, invert = "auto") {
  const planes = onGround(pixels, channels, preparation.ground);
  const size = [pixels.width, pixels.height];
  const target = [columns, rows];
  const seen = preparation.fit === "crop" ? cropBox(size, target) : [0, 0, ...size];
  const look = lookAt(planes, size, seen);
  const light = onLight(look);
  const dark = onLight({ ...look, values: look.values.map((value) => 255 - value) });
  const wrong = { dark: light, light: dark, any: false }[preparation.polarity];
  const inverted = invert === "yes" || (invert === "auto" && wrong);
  let fitted = planes;
  if (String(size) !== String(target)) {
    const isLight = light || (preparation.polarity === "light" && !dark);
    const place = placeOf(planes, size, look, target, preparation, isLight, inverted);
    fitted = planes.map((plane) => placed(plane, size, place, target));
  }
  const image = Float32Array.from(fitted.flatMap((plane) => [...plane]), (value) => (inverted ? 255 - value : value) / 255);
  return { image, inverted };
}

// ---- colours and transparency

/** The RGBA pixels of a bitmap or a canvas, at most as many as a page has time for. */
export function pixelsOf(picture) {
  const scale = Math.min(1, MOST / Math.max(picture.width, picture.height));
  const [width, height] = [picture.width, picture.height].map((side) => Math.max(1, Math.round(side * scale)));
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}

const luma = (r, g, b) => (19595 * r + 38470 * g + 7471 * b + 32768) >> 16;

function onGround({ data, width, height }, channels, usual) {
  const area = width * height;
  const colours = Array.from({ length: channels }, () => new Float32Array(area));
  for (let i = 0; i < area; i++) {
    if (channels === 1) colours[0][i] = luma(data[4 * i], data[4 * i + 1], data[4 * i + 2]);
    else for (let c = 0; c < 3; c++) colours[c][i] = data[4 * i + c];
  }
  let clear = false;
  for (let i = 3; i < data.length; i += 4) clear ||= data[i] < 255;
  if (!clear) return colours;
  const composed = (ground) =>
    colours.map((plane) => plane.map((value, i) => Math.round((value * data[4 * i + 3] + ground * (255 - data[4 * i + 3])) / 255)));
  const grounds = usual === "white" ? [255, 0] : [0, 255];
  for (const ground of grounds) {
    const planes = composed(ground);
    const [low, high] = span(planes);
    if (high - low >= 256 / FILLED) return planes;
  }
  return composed(grounds[0]);
}

function span(planes) {
  let [low, high] = [255, 0];
  for (const plane of planes) for (const value of plane) [low, high] = [Math.min(low, value), Math.max(high, value)];
  return [low, high];
}

const gray = (planes) => (planes.length === 1 ? planes[0] : planes[0].map((r, i) => luma(r, planes[1][i], planes[2][i])));

// ---- the ground

/** The part of a picture in `box` as gray, in blocks of which there are few. */
function lookAt(planes, size, box) {
  const [left, top] = [Math.floor(box[0]), Math.floor(box[1])];
  const [right, bottom] = [Math.max(left + 1, Math.floor(box[2])), Math.max(top + 1, Math.floor(box[3]))];
  const factors = [Math.ceil((right - left) / LOOK), Math.ceil((bottom - top) / LOOK)];
  const [width, height] = [Math.ceil((right - left) / factors[0]), Math.ceil((bottom - top) / factors[1])];
  const reduced = planes.map((plane) => {
    const means = new Float32Array(width * height);
    for (let block = 0; block < means.length; block++) {
      const [x0, y0] = [left + (block % width) * factors[0], top + Math.floor(block / width) * factors[1]];
      const [x1, y1] = [Math.min(right, x0 + factors[0]), Math.min(bottom, y0 + factors[1])];
      let sum = 0;
      for (let y = y0; y < y1; y++) for (let x = x0; x < x1; x++) sum += plane[y * size[0] + x];
      means[block] = Math.round(sum / ((x1 - x0) * (y1 - y0)));
    }
    return means;
  });
  return { values: gray(reduced), width, height };
}

function border({ values, width, height }) {
  const at = (x, y) => values[y * width + x];
  const edges = [];
  for (let x = 0; x < width; x++) edges.push(at(x, 0), at(x, height - 1));
  for (let y = 1; y < height - 1; y++) edges.push(at(0, y), at(width - 1, y));
  return edges;
}

function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  const place = share * (sorted.length - 1);
  const below = sorted[Math.floor(place)];
  return below + (place % 1) * (sorted[Math.ceil(place)] - below);
}

function onLight(look) {
  const edges = border(look);
  if (edges.filter((value) => value > 127.5).length <= MOST_OF_BORDER * edges.length) return false;
  return quantile(edges, 0.5) - quantile(look.values, STANDS_OUT) > APART * 255;
}

// ---- the model's size

/** The part `box` that is scaled to `size` and put at `corner`, with the gray `around` it. */
function placeOf(planes, size, look, target, { fit, ground, share }, isLight, inverted) {
  if (fit === "squash") return { box: [0, 0, ...size], size: target, corner: [0, 0] };
  if (fit === "pad") {
    const scale = Math.min(target[0] / size[0], target[1] / size[1]);
    const inner = size.map((side) => Math.max(1, Math.round(side * scale)));
    const corner = target.map((side, i) => Math.floor((side - inner[i]) / 2));
    return { box: [0, 0, ...size], size: inner, corner, around: (ground === "white") !== inverted ? 255 : 0 };
  }
  const digit = fit === "digit" && placeDigit(gray(planes), size, look, target, share, isLight);
  return digit || { box: cropBox(size, target), size: target, corner: [0, 0] };
}

function cropBox(size, target) {
  const width = Math.min(size[0], (size[1] * target[0]) / target[1]);
  const height = Math.min(size[1], (size[0] * target[1]) / target[0]);
  const [left, top] = [(size[0] - width) / 2, (size[1] - height) / 2];
  return [left, top, left + width, top + height];
}

/** MNIST's own way: the ink's box fills its share of the image, with its centre of mass in the middle. */
function placeDigit(plane, size, look, target, share, isLight) {
  const [low, high] = span([plane]);
  const ground = Math.trunc(quantile(border(look), 0.5));
  const [sign, ink] = isLight ? [-1, low] : [1, high];
  const contrast = sign * (ink - ground);
  if (contrast < VISIBLE) return null;
  let [left, top, right, bottom] = [...size, 0, 0];
  plane.forEach((value, i) => {
    if (4 * sign * (value - ground) < contrast) return;
    const [x, y] = [i % size[0], Math.floor(i / size[0])];
    [left, top, right, bottom] = [Math.min(left, x), Math.min(top, y), Math.max(right, x + 1), Math.max(bottom, y + 1)];
  });
  const scale = (share * Math.min(...target)) / Math.max(right - left, bottom - top);
  const inner = [right - left, bottom - top].map((side) => Math.max(1, Math.round(side * scale)));
  const box = [left, top, right, bottom];
  let [mass, x, y] = [0, 0, 0];
  resized(plane, size, box, inner).forEach((value, i) => {
    const weight = Math.max(0, sign * (value - ground));
    mass += weight;
    x += weight * ((i % inner[0]) + 0.5);
    y += weight * (Math.floor(i / inner[0]) + 0.5);
  });
  const corner = [Math.round(target[0] / 2 - x / mass), Math.round(target[1] / 2 - y / mass)];
  return { box, size: inner, corner, around: ground };
}

function placed(plane, size, { box, size: inner, corner, around = 0 }, target) {
  const scaled = resized(plane, size, box, inner);
  const canvas = new Float32Array(target[0] * target[1]).fill(around);
  for (let y = 0; y < inner[1]; y++)
    for (let x = 0; x < inner[0]; x++) {
      const [column, row] = [x + corner[0], y + corner[1]];
      const inside = column >= 0 && column < target[0] && row >= 0 && row < target[1];
      if (inside) canvas[row * target[0] + column] = scaled[y * inner[0] + x];
    }
  return canvas;
}

// ---- Lanczos, as Pillow resizes

const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));
const lanczos = (x) => (Math.abs(x) < 3 ? sinc(x) * sinc(x / 3) : 0);

/** For each of `count` pixels between two edges: the first of the `length` pixels that it is made of, and their weights. */
function weightsOf(from, to, count, length) {
  const scale = (to - from) / count;
  const wide = Math.max(1, scale);
  return Array.from({ length: count }, (_, i) => {
    const centre = from + (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - 3 * wide + 0.5));
    const end = Math.min(length, Math.trunc(centre + 3 * wide + 0.5));
    const weights = Array.from({ length: end - first }, (_, k) => lanczos((first + k - centre + 0.5) / wide));
    const sum = weights.reduce((a, b) => a + b, 0);
    return [first, weights.map((weight) => weight / sum)];
  });
}

const byte = (value) => Math.min(255, Math.max(0, Math.floor(value + 0.5)));

function resized(plane, [width, height], box, inner) {
  const narrow = new Float32Array(inner[0] * height);
  weightsOf(box[0], box[2], inner[0], width).forEach(([first, weights], x) => {
    for (let y = 0; y < height; y++) {
      let sum = 0;
      for (let k = 0; k < weights.length; k++) sum += weights[k] * plane[y * width + first + k];
      narrow[y * inner[0] + x] = byte(sum);
    }
  });
  const small = new Float32Array(inner[0] * inner[1]);
  weightsOf(box[1], box[3], inner[1], height).forEach(([first, weights], y) => {
    for (let x = 0; x < inner[0]; x++) {
      let sum = 0;
      for (let k = 0; k < weights.length; k++) sum += weights[k] * narrow[(first + k) * inner[0] + x];
      small[y * inner[0] + x] = byte(sum);
    }
  });
  return small;
}

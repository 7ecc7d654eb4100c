// Images of the model as pixels, in canvases and in files.
import { fail } from "./fail.js";
import { channels, height, size, width } from "./model.js";

export const $ = (id) => document.getElementById(id);
export const text = (values) => Array.from(values, (value) => value.toFixed(2).replace("-", "−")).join(", ");
export const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};
/** Tells a screen reader. */
export const say = (words) => ($("live").textContent = words);

/** Runs the newest call only, one at a time, so that a fast hand never builds a queue. */
export function newest(work) {
  let next = null;
  let running = false;
  return async (...values) => {
    next = values;
    if (running) return;
    running = true;
    try {
      while (next) {
        const now = next;
        next = null;
        await work(...now);
      }
    } catch (error) {
      fail(error);
    } finally {
      running = false;
    }
  };
}

export function pixels(image, start = 0) {
  const area = height * width;
  const data = new ImageData(width, height);
  for (let i = 0; i < area; i++) {
    for (let c = 0; c < 3; c++) data.data[4 * i + c] = Math.round(255 * image[start + Math.min(c, channels - 1) * area + i]);
    data.data[4 * i + 3] = 255;
  }
  return data;
}

/** Puts images side by side into a canvas, which becomes as large as they are. */
export function paint(canvas, images) {
  const count = images.length / size;
  [canvas.width, canvas.height] = [width * count, height];
  for (let i = 0; i < count; i++) canvas.getContext("2d").putImageData(pixels(images, i * size), i * width, 0);
}

// As runtime/drawing/maps.py has them: the colours of a map's values of 0 and 1, how much they cover, and from where on.
const [WEAK, STRONG, COVER, COVERING] = [[255, 200, 0], [215, 0, 40], 0.85, 0.4];

/** Puts an image in gray into a canvas, under its map as heat. */
export function paintHeat(canvas, image, map) {
  const heated = pixels(image);
  const { data } = heated;
  map.forEach((value, i) => {
    const strength = Math.min(1, Math.max(0, value));
    const cover = COVER * Math.min(1, strength / COVERING);
    const gray = 0.299 * data[4 * i] + 0.587 * data[4 * i + 1] + 0.114 * data[4 * i + 2];
    for (let c = 0; c < 3; c++) {
      data[4 * i + c] = Math.round(gray * (1 - cover) + (WEAK[c] + (STRONG[c] - WEAK[c]) * strength) * cover);
    }
  });
  [canvas.width, canvas.height] = [width, height];
  canvas.getContext("2d").putImageData(heated, 0, 0);
}

/** A canvas as many times as large as brings it to about `side` pixels, each of them a square. */
export function enlarged(canvas, side) {
  const factor = Math.max(1, Math.round(side / canvas.width));
  const large = make("canvas", { width: canvas.width * factor, height: canvas.height * factor });
  const context = large.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(canvas, 0, 0, large.width, large.height);
  return large;
}

export function saveFile(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

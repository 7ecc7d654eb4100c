// Animated GIFs, as CompuServe's "Graphics Interchange Format, version 89a" has them, of pictures of few colours.

/**
 * The bytes of a GIF that plays for ever. `frames` are RGBA, `width` and `height` of each; a frame stays for `delay`
 * hundredths of a second. Its 256 colours are all grays, or, where a frame has others, 6 x 7 x 6 shades.
 */
export function gif(frames, width, height, delay) {
  const palette = frames.every(isGray) ? GRAY : COLOUR;
  const word = (value) => [value & 255, value >> 8];
  const parts = [
    [...ascii("GIF89a"), ...word(width), ...word(height), 0xf7, 0, 0, ...palette.colours],
    [0x21, 0xff, 11, ...ascii("NETSCAPE2.0"), 3, 1, 0, 0, 0], // again and again
  ];
  for (const frame of frames) {
    parts.push([0x21, 0xf9, 4, 0, ...word(delay), 0, 0, 0x2c, 0, 0, 0, 0, ...word(width), ...word(height), 0]);
    parts.push(blocks(packed(palette.indices(frame))));
  }
  parts.push([0x3b]);
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

const ascii = (text) => Array.from(text, (letter) => letter.charCodeAt(0));
const isGray = (pixels) => pixels.every((value, i) => i % 4 === 3 || value === pixels[i - (i % 4)]);
const everyPixel = (pixels, index) => Uint8Array.from({ length: pixels.length / 4 }, (_, i) => index(pixels, 4 * i));

const GRAY = {
  colours: Array.from({ length: 768 }, (_, i) => Math.floor(i / 3)),
  indices: (pixels) => everyPixel(pixels, (all, i) => all[i]),
};

const LEVELS = [6, 7, 6];
const level = (value, c) => Math.round((value / 255) * (LEVELS[c] - 1));
const COLOUR = {
  colours: Array.from({ length: 256 }, (_, i) => [Math.floor(i / 42), Math.floor(i / 6) % 7, i % 6])
    .flatMap((levels) => levels.map((each, c) => Math.min(255, Math.round((255 * each) / (LEVELS[c] - 1))))),
  indices: (pixels) => everyPixel(pixels, (all, i) => level(all[i], 0) * 42 + level(all[i + 1], 1) * 6 + level(all[i + 2], 2)),
};

const CLEAR = 256;
const END = 257;

/** LZW with codes of 9 to 12 bits, lowest bit first; the table begins anew when it is full. */
function packed(indices) {
  const bytes = [8]; // bits of an index
  let [bits, count] = [0, 0];
  let [table, next, length] = [new Map(), END + 1, 9];
  const write = (code) => {
    bits |= code << count;
    for (count += length; count >= 8; count -= 8, bits >>>= 8) bytes.push(bits & 255);
  };
  write(CLEAR);
  let prefix = indices[0];
  for (const index of indices.subarray(1)) {
    const longer = (prefix << 8) | index;
    if (table.has(longer)) {
      prefix = table.get(longer);
      continue;
    }
    write(prefix);
    prefix = index;
    if (next === 4096) {
      write(CLEAR);
      [table, next, length] = [new Map(), END + 1, 9];
      continue;
    }
    table.set(longer, next);
    if (next === 1 << length) length++;
    next++;
  }
  write(prefix);
  write(END);
  if (count > 0) bytes.push(bits & 255);
  return bytes;
}

/** The first byte as it is, the others in blocks of at most 255, each after its length, and an empty block. */
function blocks([first, ...bytes]) {
  const parts = [first];
  for (let i = 0; i < bytes.length; i += 255) {
    const block = bytes.slice(i, i + 255);
    parts.push(block.length, ...block);
  }
  return [...parts, 0];
}

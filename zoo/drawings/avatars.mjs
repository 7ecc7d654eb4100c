// Draws faces for avatars.py, which says as JSON of which seeds: 64 x 64 pixels of red, green and blue for each, and a
// byte for each attribute, go to the standard output. WebAssembly computes the same bytes on every machine.
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createAvatar } from "@dicebear/core";
import * as lorelei from "@dicebear/lorelei";
import * as pixelArt from "@dicebear/pixel-art";
import { initWasm, Resvg } from "@resvg/resvg-wasm";

const { spans, options } = JSON.parse(process.argv[2]);
const STYLES = [pixelArt, lorelei];

// As ATTRIBUTES of zoo/datasets/avatars.py has them.
function attributes(style, drawn) {
  const colour = (name, found) => options[name].indexOf(found.slice(1));
  return [
    style,
    drawn.glasses ? 1 : 0,
    colour("hairColor", drawn.hairColor),
    colour("skinColor", drawn.skinColor),
    colour("backgroundColor", drawn.primaryBackgroundColor),
    drawn.mouth.startsWith("happy") ? 0 : 1,
  ];
}

await initWasm(await readFile(new URL("node_modules/@resvg/resvg-wasm/index_bg.wasm", import.meta.url)));
for (const [first, end] of spans) {
  for (let seed = first; seed < end; seed++) {
    const style = seed % STYLES.length;
    const { svg, extra } = createAvatar(STYLES[style], { seed: String(seed), size: 64, ...options }).toJson();
    const renderer = new Resvg(svg);
    const picture = renderer.render();
    const colours = picture.pixels.filter((_, place) => place % 4 !== 3); // no opacity: nothing is transparent
    picture.free();
    renderer.free();
    const record = Buffer.concat([colours, Buffer.from(attributes(style, extra))]);
    if (!process.stdout.write(record)) await once(process.stdout, "drain");
  }
}

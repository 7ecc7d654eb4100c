// What the explore page's modules without a page make of values: addresses and animations.  node modules.mjs SITE INPUT
// SITE has the modules; INPUT is a file of JSON: { model, fragments, codes, animations: [[frames, width, height, delay]] }.
import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";

const [site, input] = process.argv.slice(2);
const { model, fragments = [], codes = [], animations = [] } = JSON.parse(await readFile(input, "utf8"));
const { codeOf, fragmentOf } = await import(pathToFileURL(`${site}/link.js`));
const { gif } = await import(pathToFileURL(`${site}/gif.js`));

const plain = (code) => code && { z: [...code.z], y: code.y && [...code.y] };
console.log(
  JSON.stringify({
    read: fragments.map((fragment) => plain(codeOf(fragment, model))),
    written: codes.map(({ z, y }) => fragmentOf({ z: Float32Array.from(z), y: y && Float32Array.from(y) }, model)),
    animations: animations.map(([frames, ...rest]) =>
      Buffer.from(gif(frames.map((frame) => Uint8ClampedArray.from(frame)), ...rest)).toString("base64"),
    ),
  }),
);

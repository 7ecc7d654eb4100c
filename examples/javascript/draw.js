// Draws a picture with the model beside this file; onnxruntime-node is all that this needs.
//
//     node draw.js [SEED [LABEL | NAME=VALUE ...]]
//
// prints the numbers, and writes picture.png where it is run.
import { writeFileSync } from "node:fs";
import { load, png } from "./index.js";
import { report } from "./report.js";

const [seed = "0", ...asked] = process.argv.slice(2);
if (!/^[0-9]+$/.test(seed) || Number(seed) >= 2 ** 32) {
  console.error(`error: the seed is ${seed}, expected a whole number from 0 to ${2 ** 32 - 1}`);
  process.exit(1);
}
const pairs = asked.map((text) => (text.includes("=") ? text.split(/=(.*)/s) : ["label", text]));
const model = await load();
const drawing = report(model, { seed: Number(seed), attributes: Object.fromEntries(pairs) });
const { image, text } = await drawing.catch((error) => {
  if (!(error instanceof RangeError)) throw error;
  console.error(`error: ${error.message}`);
  process.exit(1);
});
console.log(text);
writeFileSync("picture.png", await png(image));

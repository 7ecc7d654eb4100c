// Draws a picture with a model of aae-zoo; onnxruntime-node is all that this needs (npm install).
//
//     node draw.mjs [SEED [LABEL]]
//
// reads prior.onnx and decoder.onnx where it is run, prints the numbers and writes picture.pgm (gray) or .ppm (colour).
// Model: any of aae-zoo; what differs between models is read from the graphs.
import { readFileSync, writeFileSync } from "node:fs";
import { draw, open, pixels, report } from "./model.mjs";

process.env.ORT_DISABLE_TELEMETRY ??= "1"; // ONNX Runtime reads it when it is imported
const ort = await import("onnxruntime-node");

const [seed = "0", label] = process.argv.slice(2);
const model = await open(ort, readFileSync("prior.onnx"), readFileSync("decoder.onnx"));
const drawn = await draw(model, Number(seed), label === undefined ? null : Number(label));

console.log(report(model, drawn));
const [format, suffix] = model.channels === 1 ? ["P5", "pgm"] : ["P6", "ppm"];
const header = Buffer.from(`${format} ${model.width} ${model.height} 255\n`);
writeFileSync(`picture.${suffix}`, Buffer.concat([header, pixels(model, drawn.image)]));

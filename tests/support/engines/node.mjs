// Run all cases of a folder in Node:  node node.mjs onnxruntime-node|onnxruntime-web CASES OUT
import { readFile, writeFile } from "node:fs/promises";
import { runAll } from "./run.mjs";

const [name, cases, out] = process.argv.slice(2);
const ort = await import(name === "onnxruntime-web" ? "onnxruntime-web/wasm" : name);
if (name === "onnxruntime-web") ort.env.wasm.numThreads = 1;
const failed = await runAll(ort, JSON.parse(await readFile(`${cases}/cases.json`)), {
  graph: async (one) => new Uint8Array(await readFile(one.graph)),
  read: async (file) => new Uint8Array(await readFile(`${cases}/${file}`)).buffer,
  write: (file, array) => writeFile(`${out}/${file}`, array),
});
const { version } = JSON.parse(await readFile(new URL(`../node_modules/${name}/package.json`, import.meta.url)));
console.log(JSON.stringify({ version, failed }));

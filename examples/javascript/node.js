// What index.js needs of Node.js.
import { readFile } from "node:fs/promises";

process.env.ORT_DISABLE_TELEMETRY ??= "1"; // ONNX Runtime reads it when it is imported

/** Open graphs, each given by its role and its file's URL. */
export async function open(graphs) {
  const ort = await import("onnxruntime-node");
  const sessions = {};
  for (const [role, url] of Object.entries(graphs)) {
    sessions[role] = await ort.InferenceSession.create(await readFile(url));
  }
  return { ort, sessions, device: "node" };
}

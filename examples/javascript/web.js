// What index.js needs of a browser.

/** Open graphs, each given by its role and its file's URL: on WebGPU where the browser has it, else in WebAssembly. */
export async function open(graphs, device) {
  const files = await Promise.all(Object.entries(graphs).map(async ([role, url]) => [role, await read(url)]));
  if (device !== "wasm") {
    try {
      if (!(await navigator.gpu?.requestAdapter())) throw Error("this browser has no WebGPU");
      return await start(await import("onnxruntime-web/webgpu"), "webgpu", files);
    } catch (error) {
      if (device === "webgpu") throw error;
    }
  }
  return start(await import("onnxruntime-web/wasm"), "wasm", files);
}

async function start(ort, device, files) {
  ort.env.wasm.numThreads ??= 1; // more would need the server's COOP and COEP headers
  const sessions = {};
  for (const [role, bytes] of files) {
    // WebGPU warns that it leaves some nodes to the CPU, as it should.
    sessions[role] = await ort.InferenceSession.create(bytes, { executionProviders: [device], logSeverityLevel: 3 });
  }
  return { ort, sessions, device };
}

async function read(url) {
  const response = await fetch(url);
  if (!response.ok) throw Error(`${url} cannot be read: ${response.status} ${response.statusText}`);
  return new Uint8Array(await response.arrayBuffer());
}

// One case in any build of ONNX Runtime for JavaScript, in Node or in a page.

/** The outputs of a graph (Uint8Array) by name, Float32Array; `inputs` are {name: {data, shape}}. */
export async function run(ort, graph, inputs, outputs) {
  const session = await ort.InferenceSession.create(graph, { intraOpNumThreads: 1 });
  const feeds = {};
  for (const [name, { data, shape }] of Object.entries(inputs)) feeds[name] = new ort.Tensor("float32", data, shape);
  const results = await session.run(feeds, Object.keys(outputs));
  const found = {};
  for (const [name, { shape }] of Object.entries(outputs)) {
    if (String(results[name].dims) !== String(shape))
      throw new Error(`${name} is [${results[name].dims}], expected [${shape}]`);
    found[name] = results[name].data;
  }
  await session.release();
  return found;
}

/** Run all cases: what failed, by name. `read(file)` and `graph(case)` give bytes, `write(file, array)` takes them. */
export async function runAll(ort, cases, { graph, read, write }) {
  const failed = {};
  for (const one of cases) {
    try {
      const inputs = {};
      for (const [name, { file, shape }] of Object.entries(one.inputs))
        inputs[name] = { data: new Float32Array(await read(file)), shape };
      const found = await run(ort, await graph(one), inputs, one.outputs);
      for (const [name, { file }] of Object.entries(one.outputs)) await write(file, found[name]);
    } catch (error) {
      failed[one.name] = String(error).slice(0, 300);
    }
  }
  return failed;
}

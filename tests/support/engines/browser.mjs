// Run all cases of a folder in one page of a real Chromium:  node browser.mjs CHROMIUM CASES OUT
import { createServer } from "node:http";
import { readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const [executablePath, folder, out] = process.argv.slice(2);
const here = fileURLToPath(new URL(".", import.meta.url));
const graphs = Object.fromEntries(
  JSON.parse(await readFile(`${folder}/cases.json`)).map(({ name, graph }) => [name, graph]),
);
const types = { html: "text/html", mjs: "text/javascript", json: "application/json", wasm: "application/wasm" };

/** The file behind a path of the page, or undefined. */
function fileOf(path) {
  const [top, ...rest] = path.slice(1).split("/");
  if (top === "graphs") return graphs[rest.join("/")];
  if (top === "cases") return `${folder}/${rest.join("/")}`;
  if (top === "ort") return `${here}../node_modules/onnxruntime-web/dist/${rest.join("/")}`;
  return ["page.html", "run.mjs"].includes(top) ? here + top : undefined;
}

async function body(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return Buffer.concat(parts);
}

const server = createServer(async (request, response) => {
  try {
    if (request.method === "PUT") {
      await writeFile(`${out}/${request.url.slice("/out/".length)}`, await body(request));
      response.end();
      return;
    }
    const file = fileOf(request.url);
    const content = await readFile(file);
    response.setHeader("Content-Type", types[file.split(".").pop()] ?? "application/octet-stream");
    response.end(content);
  } catch (error) {
    response.statusCode = 404;
    response.end(String(error));
  }
}).listen(0, "127.0.0.1");
await new Promise((resolve) => server.once("listening", resolve));

const quiet = "--disable-gpu --disable-quic --no-first-run --disable-background-networking";
const browser = await chromium.launch({
  executablePath,
  args: ["--no-sandbox", ...quiet.split(" "), "--disable-component-update", "--disable-sync"],
});
try {
  const page = await browser.newPage();
  page.on("pageerror", (error) => console.error(String(error)));
  await page.goto(`http://127.0.0.1:${server.address().port}/page.html`);
  await page.waitForFunction(() => window.failed !== undefined, null, { timeout: 300_000 });
  const failed = await page.evaluate(() => window.failed);
  const { version } = JSON.parse(await readFile(`${here}../node_modules/onnxruntime-web/package.json`));
  console.log(JSON.stringify({ version: `${version}, Chromium ${browser.version()}`, failed }));
} finally {
  await browser.close();
  server.close();
}

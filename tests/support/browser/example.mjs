// The page of examples/javascript: what it prints for a seed and what is asked for, with WebGPU or without.
//     node example.mjs URL has-webgpu|no-webgpu SEED [NAME=VALUE ...]
import { readFile } from "node:fs/promises";
import { launch, open } from "./chromium.mjs";

const [url, gpu, seed, ...asked] = process.argv.slice(2);
const browser = await launch({ webgpu: gpu === "has-webgpu" });
try {
  const { page, faults } = await open(browser, url);
  await page.waitForFunction(() => !document.querySelector("button").disabled);
  await page.getByLabel("Seed").fill(seed);
  for (const text of asked) {
    const [name, label] = text.split("=");
    await page.getByLabel(name).selectOption({ label });
  }
  const before = await page.locator("pre").textContent();
  await page.getByRole("button", { name: "Draw" }).click();
  await page.waitForFunction((old) => document.querySelector("pre").textContent !== old, before);
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByText("Save the picture").click()]);
  const numbers = await page.locator("pre").textContent();
  const device = await page.locator("span").textContent();
  const pictures = await page.locator("img").evaluateAll((all) => all.map((one) => [one.naturalHeight, one.naturalWidth]));
  const saved = await readFile(await download.path(), "base64");
  const selects = page.locator("label:has(select)");
  const controls = await selects.evaluateAll((all) => all.map((one) => one.firstChild.textContent.trim()));
  const seeds = [];
  for (const other of ["4294967295", "4294967296", "-1", ""]) {
    await page.getByLabel("Seed").fill(other);
    if (await page.getByLabel("Seed").evaluate((field) => field.checkValidity())) seeds.push(other);
  }
  await page.route("**/decoder.onnx", (route) => route.fulfill({ status: 404 }));
  const { length } = faults;
  await page.reload();
  await page.waitForFunction(() => document.querySelector("pre").textContent.startsWith("error"));
  const said = [await page.locator("pre").textContent()];
  await page.unrouteAll();
  await page.addInitScript(() => delete globalThis.CompressionStream);
  await page.reload();
  await page.waitForFunction(() => document.querySelector("pre").textContent === "error: CompressionStream is not defined");
  said.push(await page.locator("pre").textContent());
  faults.length = length;
  console.log(JSON.stringify({ faults, said, numbers, controls, seeds, device, pictures, saved }));
} finally {
  await browser.close();
}

// The page of examples/javascript: what it prints for a seed and a label.  node example.mjs URL SEED [LABEL]
import { readFile } from "node:fs/promises";
import { launch, open } from "./chromium.mjs";

const [url, seed, label = ""] = process.argv.slice(2);
const browser = await launch();
try {
  const { page, faults } = await open(browser, url);
  await page.waitForFunction(() => document.querySelector("pre").textContent);
  await page.getByLabel("Seed").fill(seed);
  if (label) await page.getByLabel("Label").selectOption(label);
  const before = await page.locator("pre").textContent();
  await page.getByRole("button", { name: "Draw" }).click();
  await page.waitForFunction((old) => document.querySelector("pre").textContent !== old, before);
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByText("Save the picture").click()]);
  const numbers = await page.locator("pre").textContent();
  console.log(JSON.stringify({ faults, numbers, picture: await readFile(await download.path(), "base64") }));
} finally {
  await browser.close();
}

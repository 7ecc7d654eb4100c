// A person's way through the page of a model with two attributes, shape and main colour; prints what was seen.  node attributes.mjs URL
import { launch, open, SCREENS } from "./chromium.mjs";

const [url] = process.argv.slice(2);

const shown = (page) => page.evaluate(() => ({ z: [...globalThis.aaeZoo.z], y: [...globalThis.aaeZoo.y], image: [...globalThis.aaeZoo.image] }));

/** Does something, waits until the page shows another picture, and tells which. */
async function after(page, act) {
  const before = await page.evaluateHandle(() => globalThis.aaeZoo);
  await act();
  await page.waitForFunction((old) => globalThis.aaeZoo !== old && globalThis.aaeZoo.image, before);
  return shown(page);
}

const browser = await launch();
try {
  const { page, faults } = await open(browser, url, { ...SCREENS.desktop, reducedMotion: "reduce" });
  await page.waitForFunction(() => performance.getEntriesByName("live").length);
  const seen = { first: await shown(page) };
  seen.ring = await after(page, () => page.locator("#attributes").getByLabel("Shape").selectOption({ label: "ring" }));
  seen.blue = await after(page, () => page.locator("#attributes").getByLabel("Main colour").selectOption({ label: "blue" }));
  seen.random = await after(page, () => page.getByRole("button", { name: "Random" }).click());
  seen.test = await after(page, () => page.getByRole("button", { name: "Test picture" }).click());
  await page.waitForFunction(() => document.getElementById("live").textContent.startsWith("Encoded"));
  seen.said = await page.locator("#reading").textContent();
  seen.buttons = await page.locator("#redraws button").allTextContents();
  seen.green = await after(page, () => page.getByRole("button", { name: "main colour: green" }).click());
  seen.asked = await page.$$eval("#attributes select", (all) => all.map((select) => select.selectedOptions[0].textContent));
  await page.waitForFunction(() => location.hash.includes("y=") || location.hash.includes("label="));
  seen.hash = await page.evaluate(() => location.hash);
  console.log(JSON.stringify({ ...seen, faults }));
} finally {
  await browser.close();
}

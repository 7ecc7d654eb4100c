// What the pages of aae-zoo explore do before their decoder has come, and what is taken away from them; prints what was
// seen.  node sharing.mjs URL FRAGMENTS
// URL has pages in plane/, noise/ and bits/; FRAGMENTS is JSON, a list of fragments of addresses for the noise page.
import { readFile } from "node:fs/promises";
import { gunzipSync } from "node:zlib";
import { launch, open, SCREENS } from "./chromium.mjs";

const [url, fragments] = process.argv.slice(2);
const STILL = { ...SCREENS.desktop, reducedMotion: "reduce" };

const ready = (page, mark) => page.waitForFunction((name) => performance.getEntriesByName(name).length, mark);

const shown = (page) =>
  page.evaluate(() => {
    const { z, y, image } = globalThis.aaeZoo;
    return { z: [...z], y: y && [...y], image: image && [...image] };
  });

async function after(page, act) {
  const before = await page.evaluateHandle(() => globalThis.aaeZoo);
  await act();
  await page.waitForFunction((old) => globalThis.aaeZoo !== old, before);
  return shown(page);
}

/** The grays of the picture as it is painted. */
const painted = (page) =>
  page.$eval("#picture", (canvas) => {
    const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
    copy.drawImage(canvas, 0, 0);
    return [...copy.getImageData(0, 0, canvas.width, canvas.height).data].filter((_, i) => i % 4 === 0);
  });

const strip = (page) => page.$eval("#wall-strip", (element) => new DOMMatrix(getComputedStyle(element).transform).m41);

/** Waits until the wall has stood still for ten frames, and tells where. */
const rest = (page) =>
  page.evaluate(async () => {
    const place = () => new DOMMatrix(getComputedStyle(document.getElementById("wall-strip")).transform).m41;
    for (let still = 0, before = place(); still < 10; ) {
      await new Promise(requestAnimationFrame);
      still = place() === before ? still + 1 : 0;
      before = place();
    }
    return place();
  });

/** Drags the wall, and tells where it is before it is let go, from when on it rolls out. */
async function dragWall(page, by) {
  const box = await page.locator("#wall").boundingBox();
  await page.mouse.move(box.x + 500, box.y + 20);
  await page.mouse.down();
  await page.mouse.move(box.x + 500 + by, box.y + 20, { steps: 4 });
  const held = await strip(page);
  await page.mouse.up();
  return held;
}

/** A page whose ONNX Runtime is held back until it is let go: what it shows until then, and what then. */
async function withoutDecoder(browser) {
  let letGo;
  const held = new Promise((resolve) => (letGo = resolve));
  const holdBack = (page) =>
    page.route("**/*.wasm.gz", async (route) => {
      await held;
      await route.continue();
    });
  const { page, faults } = await open(browser, `${url}plane/`, STILL, holdBack);
  const seen = { faults };
  await ready(page, "first picture");
  seen.first = { ...(await shown(page)), painted: await painted(page) };
  seen.progress = await page.locator("#progress").isVisible();
  const before = await strip(page);
  seen.dragged = before - (await dragWall(page, -100));
  const box = await page.locator("#plane").boundingBox();
  const at = (x, y) => page.mouse.click(box.x + x * box.width, box.y + y * box.height);
  seen.moved = await after(page, () => at(0.3, 0.4));
  seen.movedPainted = await painted(page);
  const wall = await page.locator("#wall").boundingBox();
  seen.column = Math.floor((20 - (await rest(page))) / (wall.height / 3));
  seen.sample = await after(page, () => page.mouse.click(wall.x + 20, wall.y + 5));
  seen.samplePainted = await painted(page);
  letGo();
  await ready(page, "live");
  seen.live = await shown(page);
  seen.loading = await page.locator("#loading").isVisible();
  await page.context().close();
  return seen;
}

/** A page from a server that has the browser unpack ONNX Runtime, and on which the wall drifts. */
async function drifting(browser) {
  const unpacks = (page) =>
    page.route("**/*.wasm.gz", async (route) => {
      const packed = await (await route.fetch()).body();
      await route.fulfill({ body: gunzipSync(packed) }); // as the browser hands on what came with Content-Encoding: gzip
    });
  const { page, faults } = await open(browser, `${url}noise/`, SCREENS.desktop, unpacks);
  await ready(page, "live");
  const start = await strip(page);
  await page.waitForFunction((old) => new DOMMatrix(getComputedStyle(document.getElementById("wall-strip")).transform).m41 < old - 3, start);
  await page.getByRole("button", { name: "Hold still" }).click();
  const seen = { faults, start, held: await rest(page) };
  await page.context().close();
  return seen;
}

async function bits(browser) {
  const { page, faults } = await open(browser, `${url}bits/`, STILL);
  await ready(page, "live");
  const seen = { faults, first: await shown(page) };
  const switches = () => page.$$eval("#switches input[role=switch]", (all) => all.map((input) => input.checked));
  seen.flipped = await after(page, () => page.getByRole("switch", { name: "Bit 5", exact: true }).press("Space"));
  seen.flippedSwitches = await switches();
  seen.test = await after(page, () => page.getByRole("button", { name: "Test picture" }).click());
  seen.testSwitches = await switches();
  await page.context().close();
  return seen;
}

/** Whether a switch that is flipped, and the pad that is drawn on, look another way in high contrast. */
async function highContrast(browser) {
  const { page, faults } = await open(browser, `${url}bits/`, { ...STILL, forcedColors: "active" });
  await ready(page, "live");
  const looksOther = async (element, act) => {
    const before = await element.screenshot();
    await act();
    return !before.equals(await element.screenshot());
  };
  const bit = page.getByRole("switch", { name: "Bit 5", exact: true });
  await bit.focus();
  const seen = { faults, flipped: await looksOther(bit, () => after(page, () => bit.press("Space"))) };
  const pad = page.locator("#pad");
  seen.drawn = await looksOther(pad, () => pad.dragTo(pad, { sourcePosition: { x: 60, y: 60 }, targetPosition: { x: 150, y: 150 } }));
  await page.context().close();
  return seen;
}

/** What a page shows that is opened with a fragment, and when the fragment changes. */
async function links(browser) {
  const { page, faults } = await open(browser, `${url}noise/#${JSON.parse(fragments)[0]}`, STILL);
  await ready(page, "live");
  const seen = { faults, opened: await shown(page), random: await after(page, () => page.getByRole("button", { name: "Random" }).click()) };
  await page.getByRole("button", { name: "Copy link" }).click();
  seen.link = await page.evaluate(() => location.hash);
  seen.changed = [];
  for (const fragment of JSON.parse(fragments).slice(1)) {
    await page.evaluate((hash) => (location.hash = hash), fragment);
    await page.waitForTimeout(50);
    seen.changed.push((await shown(page)).z);
  }
  // The page writes its own address between a change and its event.
  await page.evaluate((own) => {
    location.hash = "no code";
    history.replaceState(null, "", own);
  }, seen.link);
  await page.waitForTimeout(50);
  seen.overwritten = (await shown(page)).z;
  seen.again = await after(page, () => page.evaluate((hash) => (location.hash = hash), JSON.parse(fragments)[0]));
  seen.animation = await animation(page);
  await page.context().close();
  return seen;
}

async function animation(page) {
  const seen = {};
  await page.getByRole("button", { name: "A is here" }).click();
  seen.a = await shown(page);
  seen.b = await after(page, () => page.getByRole("button", { name: "Random" }).click());
  await page.getByRole("button", { name: "B is here" }).click();
  const save = page.getByRole("button", { name: "Save as an animation" });
  const [download] = await Promise.all([page.waitForEvent("download"), save.click()]);
  seen.saved = [download.suggestedFilename(), await readFile(await download.path(), "base64")];
  return seen;
}

/** What a page says whose first module is not there, or one that this needs. */
async function withoutModule(browser) {
  const seen = { faults: [], said: [] };
  for (const name of ["explore.js", "fail.js", "walk.js"]) {
    const { page } = await open(browser, `${url}plane/`, STILL, (each) => each.route(`**/${name}`, (route) => route.fulfill({ status: 404 })));
    await page.waitForFunction(() => document.getElementById("progress").hidden);
    seen.said.push(await page.locator("#status").textContent());
    await page.context().close();
  }
  return seen;
}

/** What a page says whose server forbids its scripts, and in a browser that lacks what it needs. */
async function withoutMeans(browser) {
  const headers = { "content-type": "text/html", "content-security-policy": "script-src 'none'" };
  const forbid = (page) =>
    page.route("**/plane/", async (route) => route.fulfill({ response: await route.fetch(), headers }));
  const age = (page) => page.addInitScript(() => delete globalThis.DecompressionStream);
  const seen = { faults: [], said: [] };
  for (const prepare of [forbid, age]) {
    const { page } = await open(browser, `${url}plane/`, STILL, prepare);
    await page.waitForFunction(() => document.getElementById("progress").hidden);
    seen.said.push(await page.locator("#status").textContent());
    await page.context().close();
  }
  return seen;
}

/** What a page says that asks for pictures and the encoder while the network is gone, and when it is there again. */
async function offline(browser) {
  const { page } = await open(browser, `${url}bits/`, STILL, (each) => each.route("**/encoder.onnx", (route) => route.abort()));
  await ready(page, "live");
  const said = (words) => page.waitForFunction((text) => document.getElementById("reading").textContent.startsWith(text), words);
  const test = () => page.getByRole("button", { name: "Test picture" }).click();
  const seen = { faults: [], said: [] };
  await page.context().setOffline(true);
  await test();
  await said("The picture");
  seen.said.push(await page.locator("#reading").textContent());
  await page.context().setOffline(false);
  await test();
  await said("The picture cannot be read: encoder");
  seen.said.push(await page.locator("#reading").textContent());
  await page.unrouteAll();
  seen.test = await after(page, test);
  await page.context().close();
  return seen;
}

const browser = await launch();
const seen = {};
try {
  for (const act of [withoutDecoder, withoutModule, withoutMeans, offline, drifting, bits, highContrast, links]) seen[act.name] = await act(browser);
  console.log(JSON.stringify(seen));
} finally {
  await browser.close();
}

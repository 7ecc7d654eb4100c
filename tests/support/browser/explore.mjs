// A person's way through the pages of aae-zoo explore; prints what was seen.  node explore.mjs URL PICTURE SCREENSHOTS
// URL has pages in plane/, noise/, small/, labelled/, wide/, detector/ and all/; PICTURE is a file to drop in; SCREENSHOTS is a folder.
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { launch, open, SCREENS } from "./chromium.mjs";

const [url, picture, screenshots] = process.argv.slice(2);
const axe = createRequire(import.meta.url).resolve("axe-core/axe.min.js");
const CONTROLS = "a[href], button:not(:disabled), input:not(:disabled), select, [tabindex='0']";

/** What the page shows: its code, class and picture. */
const shown = (page) =>
  page.evaluate(() => {
    const { z, y, image } = globalThis.aaeZoo;
    return { z: [...z], y: y && [...y], image: [...image] };
  });

/** Does something, waits until the page shows another picture, and tells which. */
async function after(page, act) {
  const before = await page.evaluateHandle(() => globalThis.aaeZoo);
  await act();
  await page.waitForFunction((old) => globalThis.aaeZoo !== old, before);
  return shown(page);
}

const ready = (page, mark) => page.waitForFunction((name) => performance.getEntriesByName(name).length, mark);

/** The seconds of processor time that a page has taken when it decodes. */
async function workUntilLive(browser, page) {
  await ready(page, "live");
  const { processInfo } = await (await browser.newBrowserCDPSession()).send("SystemInfo.getProcessInfo");
  return Math.max(...processInfo.filter(({ type }) => type === "renderer").map(({ cpuTime }) => cpuTime));
}

/** A screenshot, small enough to be kept beside the docs; one is of the whole page, for what is drawn far down. */
const photograph = (page, name) => {
  const how = { type: "jpeg", quality: 55, scale: "css", fullPage: name === "noise-desktop" };
  return page.screenshot({ path: `${screenshots}/explore-${name}.jpg`, ...how });
};

/** Faults that axe-core calls serious or critical. */
async function accessibility(page) {
  await page.evaluate((source) => (0, eval)(source), await readFile(axe, "utf8"));
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  const grave = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
  return grave.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" ")}`);
}

/** The controls that Tab does not reach. */
async function unreached(page) {
  const count = await page.evaluate((controls) => {
    scrollTo(0, 0);
    document.activeElement.blur();
    const visible = [...document.querySelectorAll(controls)].filter((element) => element.checkVisibility());
    visible.forEach((element) => (element.dataset.control = "unreached"));
    return visible.length;
  }, CONTROLS);
  for (let press = 0; press < count + 2; press++) {
    await page.keyboard.press("Tab");
    await page.evaluate(() => (document.activeElement.dataset.control = "reached"));
  }
  return page.$$eval("[data-control='unreached']", (left) => left.map((element) => element.outerHTML));
}

/** Whether the picture is another one when the next frame is drawn after the pointer moved. */
const withinAFrame = (page) =>
  page.evaluate(async () => {
    const plane = document.getElementById("plane");
    const box = plane.getBoundingClientRect();
    const changed = [];
    for (let step = 1; step <= 20; step++) {
      await new Promise(requestAnimationFrame);
      const before = globalThis.aaeZoo.image;
      const at = { clientX: box.left + (box.width * step) / 21, clientY: box.top + box.height / 3 };
      plane.dispatchEvent(new PointerEvent("pointermove", { ...at, buttons: 1, bubbles: true }));
      await new Promise(requestAnimationFrame);
      changed.push(globalThis.aaeZoo.image !== before);
    }
    return changed.every(Boolean);
  });

async function drag(page, x, y) {
  const box = await page.locator("#plane").boundingBox();
  await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
  await page.mouse.down();
  await page.mouse.move(box.x + x * box.width, box.y + y * box.height, { steps: 5 });
  await page.mouse.up();
}

/** Drops copies of a file on the panel or elsewhere, as from a file manager. */
async function drop(page, file, count = 1, where = "#encode") {
  const data = await page.evaluateHandle(([content, copies]) => {
    const transfer = new DataTransfer();
    for (let i = 0; i < copies; i++) transfer.items.add(new File([Uint8Array.from(content)], `${i}.png`, { type: "image/png" }));
    return transfer;
  }, [[...(await readFile(file))], count]);
  await page.dispatchEvent(where, "drop", { dataTransfer: data });
}

async function plane(page) {
  const seen = { frame: await withinAFrame(page) };
  seen.dragged = await after(page, () => drag(page, 0.3, 0.4));
  seen.random = await after(page, () => page.getByRole("button", { name: "Random" }).click());
  seen.home = await after(page, () => page.locator("#handle").press("Home"));
  seen.right = await after(page, () => page.locator("#handle").press("ArrowRight"));
  seen.up = await after(page, () => page.locator("#handle").press("Shift+ArrowUp"));
  seen.spoken = await page.locator("#handle").getAttribute("aria-valuetext");
  seen.file = await after(page, () => page.getByLabel("Open a picture file").setInputFiles(picture));
  await page.waitForFunction(() => document.getElementById("live").textContent.startsWith("Encoded"));
  seen.live = await page.locator("#live").textContent();
  seen.score = await page.evaluate(() => globalThis.aaeZoo.score);
  seen.scored = await page.locator("#score-text").textContent();
  seen.dropped = await after(page, () => drop(page, picture));
  seen.inverted = await after(page, () => page.getByLabel("Files of the other polarity").selectOption({ label: "all files are" }));
  await page.getByLabel("Files of the other polarity").selectOption({ label: "are inverted" });
  seen.many = await after(page, () => drop(page, picture, 200, "header"));
  await page.waitForFunction(() => document.getElementById("reading").textContent.includes("200"));
  seen.left = await page.locator("#reading").textContent();
  seen.choice = await page.getByLabel("Open a picture file").inputValue();
  const save = page.getByRole("button", { name: "Save", exact: true });
  const [download] = await Promise.all([page.waitForEvent("download"), save.click()]);
  seen.saved = [download.suggestedFilename(), await readFile(await download.path(), "base64")];
  seen.order = [await dropped(page, "wall.jpg", "icon.png"), await dropped(page, "icon.png")];
  return seen;
}

/** What is shown in the end of files of the page that are dropped one right after the other, wall.jpg of which is slow. */
async function dropped(page, ...names) {
  await page.evaluate(async (all) => {
    const files = await Promise.all(all.map(async (name) => new File([await (await fetch(name)).blob()], name)));
    const decoded = globalThis.createImageBitmap;
    globalThis.createImageBitmap = async (file) => {
      if (file.name === "wall.jpg") await new Promise((resolve) => setTimeout(resolve, 500));
      return decoded(file);
    };
    for (const file of files) {
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(file);
      document.getElementById("encode").dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true }));
    }
  }, names);
  await page.waitForTimeout(2000);
  return shown(page);
}

async function noise(page) {
  const seen = { first: await shown(page) };
  seen.slider = await after(page, () => page.getByLabel("Code 2").press("End"));
  seen.label = await after(page, () => page.getByLabel("Label").selectOption({ label: "4" }));
  seen.random = await after(page, () => page.getByRole("button", { name: "Random" }).click());
  seen.test = await after(page, () => page.getByRole("button", { name: "Test picture" }).click());
  await page.waitForFunction(() => document.getElementById("live").textContent.startsWith("Encoded"));
  seen.live = await page.locator("#live").textContent();
  seen.score = await page.evaluate(() => globalThis.aaeZoo.score);
  seen.sliders = await page.$$eval("#sliders input", (all) => all.map((input) => Number(input.getAttribute("aria-valuetext").replace("−", "-"))));
  seen.redraws = await grays(page, "#redraws canvas");
  seen.redrawn = await after(page, () => page.locator("#redraws button").nth(7).click());
  seen.a = await after(page, () => page.getByRole("button", { name: "Test picture" }).click());
  await page.getByRole("button", { name: "A is here" }).click();
  seen.relabelled = await after(page, () => page.getByLabel("Label").selectOption({ label: "4" }));
  await after(page, () => page.getByRole("button", { name: "Random" }).click());
  seen.b = await shown(page);
  await page.getByRole("button", { name: "B is here" }).click();
  seen.between = await after(page, () => page.getByRole("slider", { name: "From A to B" }).fill("25"));
  const pad = await page.locator("#pad").boundingBox();
  await page.mouse.move(pad.x + pad.width * 0.5, pad.y + pad.height * 0.2);
  seen.dot = await after(page, () => page.mouse.down());
  seen.drawn = await after(page, async () => {
    await page.mouse.move(pad.x + pad.width * 0.45, pad.y + pad.height * 0.8);
    await page.mouse.up();
  });
  const stroke = await grays(page, "#pad");
  await page.mouse.move(pad.x - 8, pad.y + 60);
  await page.mouse.down();
  await page.mouse.move(pad.x + pad.width * 0.8, pad.y + 60);
  await page.mouse.up();
  seen.left = String(stroke) === String(await grays(page, "#pad"));
  return seen;
}

/** The grays of all canvases that a selector finds. */
const grays = (page, selector) =>
  page.$$eval(selector, (all) =>
    all.map((canvas) => [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data].filter((_, i) => i % 4 === 0)),
  );

/** A plane of pictures for each class, of an encoder that tells no class. */
async function labelled(page) {
  const seen = { label: await after(page, () => page.getByLabel("Label").selectOption({ label: "one" })) };
  await ready(page, "plane");
  [seen.map] = await grays(page, "#plane-pictures");
  seen.test = await after(page, () => page.getByRole("button", { name: "Test picture" }).click());
  await page.waitForFunction(() => document.getElementById("live").textContent.startsWith("Encoded"));
  seen.score = await page.evaluate(() => globalThis.aaeZoo.score);
  return seen;
}

/** A label that is wider than a phone. */
async function wide(page) {
  await after(page, () => page.getByRole("button", { name: "Test picture" }).click());
  await page.waitForFunction(() => document.querySelector("#redraws button"));
  return { overflow: await overflow(page) };
}

/** A detector scores a test picture, and shows where it is odd. */
async function detector(page) {
  const seen = { test: await after(page, () => page.getByRole("button", { name: "Test picture" }).click()) };
  await page.waitForFunction(() => document.getElementById("live").textContent.startsWith("Encoded"));
  seen.score = await page.evaluate(() => globalThis.aaeZoo.score);
  seen.scored = await page.locator("#score-text").textContent();
  seen.heat = await page.$eval("#odd", (canvas) => [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data]);
  return seen;
}

/** A phone: a tap moves the point, and nothing is wider than the window. */
async function phone(page) {
  const box = await page.locator("#plane").boundingBox();
  const seen = {
    tapped: await after(page, () => page.touchscreen.tap(box.x + box.width * 0.7, box.y + box.height * 0.6)),
    overflow: await overflow(page),
  };
  const { height, width } = page.viewportSize();
  await page.setViewportSize({ width: 320, height: 256 });
  seen.low = { overflow: await overflow(page), picture: await page.$eval(".picture", (card) => card.getBoundingClientRect().height) };
  await page.setViewportSize({ width, height });
  return seen;
}

const overflow = (page) => page.evaluate(() => document.documentElement.scrollWidth - innerWidth);

const browser = await launch();
const seen = {};
try {
  for (const [name, path, act] of [
    ["desktop", "plane/", plane],
    ["phone", "plane/", phone],
    ["desktop", "noise/", noise],
    ["phone", "noise/", null],
    ["desktop", "small/", null],
    ["desktop", "labelled/", labelled],
    ["phone", "wide/", wide],
    ["desktop", "detector/", detector],
  ]) {
    const { page, faults } = await open(browser, url + path, { ...SCREENS[name], reducedMotion: "reduce" });
    const work = await workUntilLive(browser, page);
    const acted = act ? await act(page) : {};
    await page.mouse.move(0, 0);
    await page.evaluate(() => scrollTo(0, 0));
    if (["plane/", "noise/"].includes(path)) await photograph(page, `${path.slice(0, -1)}-${name}`);
    const legend = await page.locator("#legend button").allTextContents();
    const named = await page.locator("header, .figures").allTextContents();
    const found = { work, ...acted, legend, named, faults };
    seen[path + name] = { ...found, grave: await accessibility(page), unreached: await unreached(page) };
    await page.context().close();
  }
  const { page, faults } = await open(browser, `${url}all/`, { ...SCREENS.desktop, colorScheme: "dark" });
  const grave = [...(await accessibility(page)), ...(await unreached(page))];
  const links = await page.$$eval(".models a", (all) => all.map((link) => link.textContent));
  await page.locator(".models a").first().click();
  await ready(page, "live");
  const dark = await accessibility(page);
  seen.all = { links, title: await page.locator("h1").textContent(), faults, grave: [...grave, ...dark] };
  console.log(JSON.stringify(seen));
} finally {
  await browser.close();
}

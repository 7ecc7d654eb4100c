// A page in Debian's Chromium, and everything it must not do: console errors, and requests to other hosts.
import { existsSync } from "node:fs";
import { chromium, devices } from "playwright-core";

const ARGUMENTS = (
  "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking " +
  "--disable-component-update --disable-sync"
).split(" ");

// A GPU that the CPU plays.
const WEBGPU = "--enable-unsafe-webgpu --use-webgpu-adapter=swiftshader --enable-features=Vulkan".split(" ");

/** Open Chromium: $CHROMIUM, or Debian's; with WebGPU where that is asked for. */
export async function launch({ webgpu = false } = {}) {
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  if (!existsSync(executablePath)) throw Error(`${executablePath} is missing: apt-get install chromium, or set CHROMIUM`);
  const args = webgpu ? [...ARGUMENTS.filter((word) => word !== "--disable-gpu"), ...WEBGPU] : ARGUMENTS;
  return chromium.launch({ executablePath, args });
}

/** What a desktop window and a phone are. */
export const SCREENS = {
  desktop: { viewport: { width: 1280, height: 900 } },
  phone: { ...devices["Pixel 7"], deviceScaleFactor: 2, viewport: { width: 390, height: 844 } },
};

/** A new page in a profile of its own, and the list of its faults, which grows; `prepare` has it before it is opened. */
export async function open(browser, url, options = {}, prepare = async () => {}) {
  const context = await browser.newContext({ acceptDownloads: true, ...options });
  context.setDefaultTimeout(120_000); // a busy machine is slow, not wrong
  await context.addInitScript(() => {
    let state = 2026; // chance is the same in every run: Park and Miller's generator
    Math.random = () => (state = (state * 16807) % 2147483647) / 2147483647;
  });
  const page = await context.newPage();
  const faults = [];
  const host = new URL(url).host;
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) faults.push(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => faults.push(`error: ${error.message}`));
  page.on("requestfailed", (request) => faults.push(`failed: ${request.url()} ${request.failure()?.errorText}`));
  page.on("response", (response) => response.status() >= 400 && faults.push(`${response.status()}: ${response.url()}`));
  page.on("request", (request) => {
    const { protocol, host: asked } = new URL(request.url());
    if (!["data:", "blob:"].includes(protocol) && asked !== host) faults.push(`another host: ${request.url()}`);
  });
  await prepare(page);
  await page.goto(url);
  return { page, faults };
}

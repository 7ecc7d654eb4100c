// How long a page of aae-zoo explore takes over a slow network, in seconds from the request.  node slow.mjs URL
import { launch, open, SCREENS } from "./chromium.mjs";

const MBIT = 1.6;
const LATENCY = 150; // milliseconds

async function slowDown(page) {
  const session = await page.context().newCDPSession(page);
  await session.send("Network.enable");
  const throughput = (MBIT * 1e6) / 8;
  const conditions = { offline: false, latency: LATENCY, downloadThroughput: throughput, uploadThroughput: throughput };
  await session.send("Network.emulateNetworkConditions", conditions);
}

const browser = await launch();
try {
  const { page } = await open(browser, process.argv[2], SCREENS.desktop, slowDown);
  const times = { browser: browser.version() };
  for (const [key, mark] of [["first", "first picture"], ["live", "live"], ["encoder", "encoder"]]) {
    const at = await page.waitForFunction((name) => performance.getEntriesByName(name)[0]?.startTime, mark);
    times[key] = (await at.jsonValue()) / 1000;
  }
  console.log(JSON.stringify(times));
} finally {
  await browser.close();
}

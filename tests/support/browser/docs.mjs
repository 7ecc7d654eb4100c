// The page that describes the service: its paths, and what one of them answers when it is tried.  node docs.mjs URL
import { launch, open } from "./chromium.mjs";

const browser = await launch();
try {
  const { page, faults } = await open(browser, process.argv[2]);
  await page.waitForSelector(".opblock");
  const paths = await page.$$eval(".opblock-summary-path", (all) => all.map((each) => each.dataset.path));
  await page.locator("[data-path='/v2/health/live']").click();
  await page.getByRole("button", { name: "Try it out" }).click();
  await page.getByRole("button", { name: "Execute", exact: true }).click();
  const body = page.locator(".live-responses-table .highlight-code code").first();
  const answer = (await body.textContent()).replaceAll(/\s/g, "");
  console.log(JSON.stringify({ faults, paths, answer }));
} finally {
  await browser.close();
}

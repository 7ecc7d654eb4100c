// The documentation from disk: what its search finds, and pictures that are not shown.  node site.mjs file:///.../index.html
import { launch, open } from "./chromium.mjs";

const browser = await launch();
try {
  const { page, faults } = await open(browser, process.argv[2]);
  const unseen = await page.$$eval("article img", (all) => all.filter((each) => !each.naturalWidth).map((each) => each.src));
  await page.keyboard.press("/");
  await page.keyboard.type("swiss roll");
  await page.waitForSelector(".md-search-result__item");
  const found = await page.locator(".md-search-result__item").first().textContent();
  console.log(JSON.stringify({ faults, found, unseen }));
} finally {
  await browser.close();
}

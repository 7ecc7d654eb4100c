// What the explore page makes of picture files: their images, and which were inverted.  node preparation.mjs URL CASES
// URL has preparation.js and the files; CASES is JSON, a list of [file, model, invert].
import { launch, open } from "./chromium.mjs";

const [url, cases] = process.argv.slice(2);
const browser = await launch();
try {
  const { page, faults } = await open(browser, url);
  const prepared = await page.evaluate(async (all) => {
    const { pixelsOf, prepare } = await import("./preparation.js");
    const found = [];
    for (const [file, model, invert] of all) {
      const bitmap = await createImageBitmap(await (await fetch(file)).blob());
      const { image, inverted } = prepare(pixelsOf(bitmap), model, invert);
      found.push([[...image], inverted]);
    }
    return found;
  }, JSON.parse(cases));
  console.log(JSON.stringify({ prepared, faults }));
} finally {
  await browser.close();
}

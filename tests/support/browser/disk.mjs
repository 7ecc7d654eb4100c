// What pages say that are opened from a disk; prints the text of the status of each.  node disk.mjs FILE...
import { pathToFileURL } from "node:url";
import { launch } from "./chromium.mjs";

const browser = await launch();
const said = {};
for (const file of process.argv.slice(2)) {
  const page = await browser.newPage();
  await page.goto(pathToFileURL(file).href);
  said[file] = await page.textContent("#status");
}
await browser.close();
console.log(JSON.stringify(said));

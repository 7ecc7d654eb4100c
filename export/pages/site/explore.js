// Starts the page of one model, and says so where that fails. It is written for browsers that are older than all they need.
import { fail } from "./fail.js";

const lacking = ["WebAssembly", "DecompressionStream", "OffscreenCanvas"].filter((name) => !(name in globalThis));
if (lacking.length) {
  fail(
    `this browser lacks ${lacking.join(" and ")}, or has it switched off; Chrome 91, Firefox 113, Safari 16.4 and ` +
      "newer ones have all that the page needs",
  );
} else {
  import("./page.js").then(({ start }) => start()).catch(fail);
}

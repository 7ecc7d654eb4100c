// Starts the page of one model, and says so where that fails.
import { fail } from "./fail.mjs";

try {
  await (await import("./page.mjs")).start();
} catch (error) {
  fail(error);
}

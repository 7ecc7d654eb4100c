// Starts the page of one model, and says so where that fails.
import { fail } from "./fail.js";

try {
  await (await import("./page.js")).start();
} catch (error) {
  fail(error);
}

/** Says that the page cannot go on. */
export function fail(error) {
  document.getElementById("loading").hidden = false;
  document.getElementById("progress").hidden = true;
  document.getElementById("status").textContent = `This page cannot show the model: ${String(error.message ?? error).replace(/\.+$/, "")}.`;
}

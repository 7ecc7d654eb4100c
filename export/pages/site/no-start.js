// Says that a page loads, which without scripts it does not, or why it does not start: browsers load neither modules nor
// models from a disk, and a server may lack a module.
function tell(words, loads) {
  document.getElementById("progress").hidden = !loads;
  document.getElementById("status").textContent = words;
}

if (location.protocol === "file:") {
  const site = decodeURIComponent(new URL("..", document.currentScript.src).pathname);
  const page = decodeURIComponent(location.pathname).slice(site.length);
  const command = `python -m http.server --bind 127.0.0.1 --directory "${site.replace(/^\/(?=[A-Za-z]:)/, "")}"`;
  tell(
    "This page was opened from a disk, from where browsers load no model. Any static server shows it: run " +
      `${command} in a terminal, and open http://127.0.0.1:8000/${page}`,
  );
} else {
  tell(document.getElementById("status").dataset.loading, true);
  // An error of what is fetched does not bubble; that of a module comes after this script, for modules wait for the page.
  const tellWhyNot = ({ target }) =>
    target.type === "module" &&
    tell("This page cannot start, for some of its program in assets/ was not loaded. Load it again; if that does " +
      "not help, copy the whole folder to the server anew, and let the browser run its scripts.");
  addEventListener("error", tellWhyNot, { capture: true });
}

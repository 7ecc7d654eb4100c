// Browsers load neither modules nor models from a disk: a page that was opened there says what shows it.
if (location.protocol === "file:") {
  const site = decodeURIComponent(new URL("..", document.currentScript.src).pathname);
  const page = decodeURIComponent(location.pathname).slice(site.length);
  const command = `python -m http.server --bind 127.0.0.1 --directory "${site.replace(/^\/(?=[A-Za-z]:)/, "")}"`;
  document.getElementById("progress").hidden = true;
  document.getElementById("status").textContent =
    "This page was opened from a disk, from where browsers load no model. Any static server shows it: run " +
    `${command} in a terminal, and open http://127.0.0.1:8000/${page}`;
}

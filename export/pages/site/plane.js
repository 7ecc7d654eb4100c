// The plane of a 2-D code: its pictures, codes of test images, and a point that is dragged.
import { forget } from "./attributes.js";
import { decode, height, model, size, width } from "./model.js";
import { $, make, newest, pixels, text } from "./pictures.js";
import { show, shown, whenShown } from "./stage.js";

const COLOURS = "#5aa2ff #ffa04a #46d183 #ff6b6b #b995ff #d0a27e #ff95d2 #cfcfcf #dede52 #45d9e3".split(" ");
const { low, high, cells } = model.plane ?? {};
const share = (value) => (value - low) / (high - low);
const inside = (value) => Math.min(high, Math.max(low, value));
const colour = (k) => (k < COLOURS.length ? COLOURS[k] : `hsl(${(k * 137.5) % 360} 80% 65%)`);

let only = null; // the class whose codes alone are shown

function placePoint({ z }) {
  $("handle").style.left = `${100 * share(inside(z[0]))}%`;
  $("handle").style.top = `${100 * (1 - share(inside(z[1])))}%`;
  $("handle").setAttribute("aria-valuenow", z[0].toFixed(2));
  $("handle").setAttribute("aria-valuetext", text(z));
}

function moveTo(x, y) {
  if (!shown.y) forget(); // it was the code's class that was chosen
  show(Float32Array.of(inside(x), inside(y)), shown.y);
}

export function setUpPlane() {
  $("handle").setAttribute("aria-valuemin", low);
  $("handle").setAttribute("aria-valuemax", high);
  const follow = (event) => {
    const box = $("plane").getBoundingClientRect();
    const at = (pointer, start, length) => low + ((pointer - start) / length) * (high - low);
    moveTo(at(event.clientX, box.left, box.width), -at(event.clientY, box.top, box.height) + low + high);
  };
  $("plane").addEventListener("pointerdown", (event) => {
    $("plane").setPointerCapture(event.pointerId);
    $("handle").focus({ preventScroll: true });
    event.preventDefault();
    follow(event);
  });
  $("plane").addEventListener("pointermove", (event) => event.buttons && follow(event));
  $("handle").addEventListener("keydown", (event) => {
    const step = ((high - low) / 100) * (event.shiftKey ? 5 : 1);
    const [dx, dy] = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] }[event.key] ?? [0, 0];
    if (event.key === "Home") moveTo((low + high) / 2, (low + high) / 2);
    else if (dx || dy) moveTo(shown.z[0] + dx, shown.z[1] + dy);
    else return;
    event.preventDefault();
  });
  $("show-pictures").addEventListener("change", () => {
    for (const id of ["plane-atlas", "plane-pictures"]) $(id).style.visibility = $("show-pictures").checked ? "" : "hidden";
  });
  $("show-codes").addEventListener("change", paintCodes);
  $("codes-name").textContent = model.codes.of;
  setUpLegend();
  new ResizeObserver(paintCodes).observe($("plane"));
  whenShown(placePoint);
}

function setUpLegend() {
  $("legend").hidden = model.codes.names.length === 0;
  model.codes.names.forEach((name, k) => {
    const dot = make("i");
    dot.style.background = colour(k);
    const button = make("button", {}, dot, name);
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => {
      only = only === k ? null : k;
      [...$("legend").querySelectorAll("button")].forEach((b, i) => b.setAttribute("aria-pressed", String(i === only)));
      paintCodes();
    });
    $("legend").append(make("li", {}, button));
  });
}

function paintCodes() {
  const canvas = $("plane-codes");
  const side = Math.round($("plane").clientWidth * devicePixelRatio);
  [canvas.width, canvas.height] = [side, side];
  if (!$("show-codes").checked) return;
  const context = canvas.getContext("2d");
  const radius = Math.max(1.3, side / 340);
  const { z, label } = model.codes;
  for (let i = 0; i < z.length / 2; i++) {
    if (only !== null && label[i] !== only) continue;
    context.fillStyle = label.length ? colour(label[i]) : "#9fb4ff";
    context.beginPath();
    context.arc(share(z[2 * i]) * side, (1 - share(z[2 * i + 1])) * side, radius, 0, 7);
    context.fill();
  }
}

/** The pictures of another class than the atlas has, row by row, so that the hand never waits for more than one row. */
export const paintPlane = newest(async (y) => {
  const canvas = $("plane-pictures");
  [canvas.width, canvas.height] = [cells * width, cells * height];
  const context = canvas.getContext("2d");
  const centre = (i) => low + ((i + 0.5) / cells) * (high - low);
  for (let row = 0; row < cells; row++) {
    const z = Float32Array.from({ length: 2 * cells }, (_, i) => centre(i % 2 ? cells - 1 - row : i >> 1));
    const images = await decode(z, y);
    for (let i = 0; i < cells; i++) context.putImageData(pixels(images, i * size), i * width, row * height);
    await new Promise((resolve) => setTimeout(resolve));
  }
  performance.mark("plane");
});

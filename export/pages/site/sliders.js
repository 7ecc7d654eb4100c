// The coordinates of a code of more than two: a switch where the prior has but two values, a slider where it has more.
import { model } from "./model.js";
import { $, make, text } from "./pictures.js";
import { show, shown, whenShown } from "./stage.js";

const controls = [];

export function setUpSliders() {
  model.quantiles.forEach((quantiles, i) => {
    const values = model.switches[i];
    const control = values ? switchOf(i, values) : sliderOf(i, quantiles);
    controls.push(control);
    (values ? $("switches") : $("sliders")).append(control.element);
  });
  $("sliders").hidden = !$("sliders").children.length;
  $("switches").hidden = !$("switches").children.length;
  $("switches").style.setProperty("--columns", columnsFor($("switches").children.length));
  $("code-title").textContent = $("sliders").hidden ? "Flip the bits" : "Move the code";
  $("code-help").textContent = $("sliders").hidden
    ? "Each switch is one bit of the code. They follow a picture that you draw or open."
    : "Each slider is one number of the code; the bar on it holds half of what the model draws. They follow a picture that you draw or open.";
  whenShown(({ z }) => controls.forEach(({ tell }, i) => tell(z[i])));
}

/** A slider or switch works once there is a decoder. */
export function enableSliders() {
  for (const { input } of controls) input.disabled = false;
}

/** As many of 4 to 8 columns as leave no hole, or else the fewest holes. */
function columnsFor(count) {
  const holes = (columns) => (columns - (count % columns)) % columns;
  return [8, 7, 6, 5, 4].reduce((best, columns) => (holes(columns) < holes(best) ? columns : best));
}

function move(i, value) {
  const z = Float32Array.from(shown.z);
  z[i] = value;
  show(z, shown.y);
}

function switchOf(i, [off, on]) {
  const input = make("input", { type: "checkbox", role: "switch", disabled: true });
  input.addEventListener("change", () => move(i, input.checked ? on : off));
  const element = make("label", {}, input, make("span", { textContent: `Bit ${i + 1}` }));
  return { element, input, tell: (value) => (input.checked = value > (on + off) / 2) };
}

/** A slider from the 1st to the 99th percentile of the prior; a code further out is at its end, with its own number. */
function sliderOf(i, [low, first, , third, high]) {
  const input = make("input", { type: "range", min: low, max: high, step: "any", disabled: true });
  const output = make("output");
  const share = (value) => `${(100 * (value - low)) / (high - low)}%`;
  const half = make("b");
  [half.style.left, half.style.right] = [share(first), share(low + high - third)];
  input.addEventListener("input", () => move(i, input.valueAsNumber));
  input.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 }[event.key];
    if (!steps) return; // step "any" leaves the size of a step to the browser, which takes too large ones
    event.preventDefault();
    move(i, Math.min(high, Math.max(low, shown.z[i] + (steps * (high - low)) / 100)));
  });
  const tell = (value) => {
    input.value = value;
    output.textContent = text([value]);
    input.setAttribute("aria-valuetext", text([value]));
  };
  return { element: make("label", {}, `Code ${i + 1}`, make("i", {}, half, input), output), input, tell };
}

// Between two points: a row of pictures, a slider, and an animation to save.
import { forget } from "./attributes.js";
import { gif } from "./gif.js";
import { decode, model, size } from "./model.js";
import { $, enlarged, newest, paint, saveFile, say, text } from "./pictures.js";
import { show, shown } from "./stage.js";

const STEPS = 9; // pictures of the row
const FRAMES = 16; // from A to B
const DELAY = 8; // hundredths of a second
const SIDE = 168; // pixels of the animation, about

const ends = { a: null, b: null };
const mix = (p, q, t) => p && Float32Array.from(p, (value, i) => (1 - t) * value + t * q[i]);
const along = (t) => [mix(ends.a.z, ends.b.z, t), mix(ends.a.y, ends.b.y, t)];
const steps = (count) => Array.from({ length: count }, (_, i) => i / (count - 1));

export function setUpWalk() {
  for (const id of ["picture-a", "picture-b"]) paint($(id), new Float32Array(size));
  paint($("walk"), new Float32Array(STEPS * size));
  $("set-a").addEventListener("click", () => setEnd("a"));
  $("set-b").addEventListener("click", () => setEnd("b"));
  $("between").addEventListener("input", () => {
    forget();
    show(...along($("between").valueAsNumber / 100));
  });
  $("animate").addEventListener("click", saveWalk);
}

function setEnd(end) {
  ends[end] = shown;
  const name = end.toUpperCase();
  paint($(`picture-${end}`), shown.image);
  $(`picture-${end}`).setAttribute("aria-label", `Point ${name}, code ${text(shown.z)}`);
  say(`Point ${name} is set.`);
  if (!ends.a || !ends.b) return;
  for (const id of ["between", "animate"]) $(id).disabled = false;
  $("between").value = end === "a" ? 0 : 100;
  paintWalk();
}

const paintWalk = newest(async () => {
  const walk = [];
  for (const t of steps(STEPS)) walk.push(...(await decode(...along(t))));
  paint($("walk"), Float32Array.from(walk));
  $("walk").setAttribute("aria-label", `The walk from A to B in ${STEPS} pictures`);
});

/** Saves the way from A to B and back as an animated GIF, which plays for ever without a jump. */
async function saveWalk() {
  const canvas = document.createElement("canvas");
  const frames = [];
  let large;
  for (const t of steps(FRAMES)) {
    paint(canvas, await decode(...along(t)));
    large = enlarged(canvas, SIDE);
    frames.push(large.getContext("2d").getImageData(0, 0, large.width, large.height).data);
  }
  frames.push(...frames.slice(1, -1).reverse());
  saveFile(new Blob([gif(frames, large.width, large.height, DELAY)], { type: "image/gif" }), `${model.name}-walk.gif`);
  say("The walk is saved.");
}

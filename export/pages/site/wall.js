// The wall of samples, which drifts, is dragged, and shows a sample on a click.
import { model } from "./model.js";
import { $ } from "./pictures.js";
import { sampleCode, show } from "./stage.js";

const DRIFT = 0.018; // CSS pixels in a millisecond
const REST = 0.005; // what is slower stands still
const CLICK = 5; // a hand that moves less than so many pixels did not drag

let offset = 0;
let speed = 0;
let drifts = false;
let dragged = null; // where the pointer was last, while it is down

export function setUpWall() {
  const wall = $("wall");
  let way = 0;
  wall.addEventListener("pointerdown", (event) => {
    wall.setPointerCapture(event.pointerId);
    [dragged, speed, way] = [event, 0, 0];
  });
  wall.addEventListener("pointermove", (event) => {
    if (!dragged) return;
    const moved = dragged.clientX - event.clientX;
    speed = moved / Math.max(1, event.timeStamp - dragged.timeStamp);
    way += Math.abs(moved);
    dragged = event;
    moveTo(offset + moved);
  });
  wall.addEventListener("pointerup", (event) => {
    if (dragged && way < CLICK) choose(event);
    dragged = null;
  });
  wall.addEventListener("pointercancel", () => (dragged = null));
  $("drift").addEventListener("click", () => setDrift(!drifts));
  setDrift(!matchMedia("(prefers-reduced-motion: reduce)").matches);
  let before = performance.now();
  const step = (now) => {
    const passed = Math.min(100, now - before);
    before = now;
    speed += ((drifts ? DRIFT : 0) - speed) * Math.min(1, passed / 300); // a thrown wall slows down to its drift
    if (!dragged && Math.abs(speed) > REST) moveTo(offset + speed * passed);
    requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
}

function setDrift(value) {
  drifts = value;
  $("drift").textContent = drifts ? "Hold still" : "Let drift";
}

const length = () => $("wall-picture").getBoundingClientRect().width;

function moveTo(value) {
  const whole = length();
  offset = ((value % whole) + whole) % whole;
  $("wall-strip").style.transform = `translateX(${-offset}px)`;
}

function choose(event) {
  const { rows, columns } = model.wall;
  const box = $("wall").getBoundingClientRect();
  const column = Math.floor((((event.clientX - box.left + offset) / length()) % 1) * columns);
  const row = Math.min(rows - 1, Math.max(0, Math.floor(((event.clientY - box.top) / box.height) * rows)));
  const { z, y } = sampleCode(row * columns + column);
  show(z, y, "A sample of the wall.");
}

// The page of one model: a point of the code or the prior's noise, decoded as it moves. `globalThis.aaeZoo` has what is
// shown, for the console and for tests.
import * as ort from "./ort/ort.wasm.bundle.min.mjs";
import { pixelsOf, prepare } from "./preparation.mjs";

ort.env.wasm.numThreads = 1; // more would need the server's COOP and COEP headers

const COLOURS = "#5aa2ff #ffa04a #46d183 #ff6b6b #b995ff #d0a27e #ff95d2 #cfcfcf #dede52 #45d9e3".split(" ");
const STEPS = 9; // pictures of a walk
const $ = (id) => document.getElementById(id);
const text = (values) => Array.from(values, (value) => value.toFixed(2).replace("-", "−")).join(", ");
const bytes = async (file) => {
  const answer = await fetch(file);
  if (!answer.ok) throw Error(`${file} could not be fetched (${answer.status})`);
  return answer.arrayBuffer();
};
const session = async (role) => ort.InferenceSession.create(new Uint8Array(await bytes(`${role}.onnx`)));

const model = JSON.parse(new TextDecoder().decode(await bytes("model.json").catch(fail)));
const [channels, height, width] = model.image;
const size = channels * height * width;
const chooses = model.label_coordinate;
const inPlane = model.latent === 2;
let prior, decoder, encoder;
let u = new Float32Array(model.noise).fill(0.5);
let shown = null; // { z, y, image }: the code, the class that a conditional decoder takes or null, the picture

// ---- running the graphs

const tensor = (values, ...shape) => new ort.Tensor("float32", values, [values.length / shape.reduce((a, b) => a * b, 1), ...shape]);

let last = Promise.resolve();

/** Runs a session after all runs before it: ONNX Runtime's one thread has one stack, and two runs would share it. */
function run(session, inputs) {
  const outputs = last.then(() => session.run(inputs));
  last = outputs.catch(() => {});
  return outputs;
}

async function drawPrior(noise) {
  const { z, y } = await run(prior, { u: tensor(noise, model.noise) });
  return { z: z.data, y: decoder.inputNames.includes("y") ? y.data : null };
}

/** The images of codes z, row after row; y, if any, is one class for all of them or one for each. */
async function decode(z, y) {
  const inputs = { z: tensor(z, model.latent) };
  if (y) {
    const all = new Float32Array((z.length / model.latent) * model.labels.length);
    for (let i = 0; i < all.length; i++) all[i] = y[i % y.length];
    inputs.y = tensor(all, model.labels.length);
  }
  return (await run(decoder, inputs)).image.data;
}

/** Runs the newest call only, one at a time, so that a fast hand never builds a queue. */
function newest(work) {
  let next = null;
  let running = false;
  return async (...values) => {
    next = values;
    if (running) return;
    running = true;
    try {
      while (next) {
        const now = next;
        next = null;
        await work(...now);
      }
    } catch (error) {
      fail(error);
    } finally {
      running = false;
    }
  };
}

const show = newest(async (z, y, said) => {
  const image = await decode(z, y);
  shown = { z: Float32Array.from(z), y: y && Float32Array.from(y), image };
  globalThis.aaeZoo = { name: model.name, ...shown };
  paint($("picture"), image);
  $("picture").setAttribute("aria-label", `Picture decoded from the code ${text(z)}`);
  $("where").textContent = z.length > 4 ? "" : `Code ${text(z)}`;
  placePoint(z);
  if (said) $("live").textContent = said;
});

const showNoise = newest(async (said) => {
  const { z, y } = await drawPrior(u);
  await show(z, y, said);
});

function fail(error) {
  $("status").hidden = false;
  $("status").textContent = `This page cannot show the model: ${error.message ?? error}.`;
}

// ---- pictures

function pixels(image, start = 0) {
  const area = height * width;
  const data = new ImageData(width, height);
  for (let i = 0; i < area; i++) {
    for (let c = 0; c < 3; c++) data.data[4 * i + c] = Math.round(255 * image[start + Math.min(c, channels - 1) * area + i]);
    data.data[4 * i + 3] = 255;
  }
  return data;
}

/** Puts images side by side into a canvas, which becomes as large as they are. */
function paint(canvas, images) {
  const count = images.length / size;
  [canvas.width, canvas.height] = [width * count, height];
  for (let i = 0; i < count; i++) canvas.getContext("2d").putImageData(pixels(images, i * size), i * width, 0);
}

function save() {
  const large = document.createElement("canvas");
  const factor = Math.max(1, Math.round(560 / width));
  [large.width, large.height] = [width * factor, height * factor];
  const context = large.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage($("picture"), 0, 0, large.width, large.height);
  large.toBlob((blob) => {
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: `${model.name}.png` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    $("live").textContent = "The picture is saved.";
  });
}

// ---- the plane of a 2-D code

const low = model.plane?.low;
const high = model.plane?.high;
const share = (value) => (value - low) / (high - low);
const inside = (value) => Math.min(high, Math.max(low, value));

function placePoint(z) {
  if (!inPlane) return placeDots(z);
  $("handle").style.left = `${100 * share(inside(z[0]))}%`;
  $("handle").style.top = `${100 * (1 - share(inside(z[1])))}%`;
  $("handle").setAttribute("aria-valuenow", z[0].toFixed(2));
  $("handle").setAttribute("aria-valuetext", text(z));
}

function moveTo(x, y) {
  if (!shown.y) $("label").value = ""; // it was the code's class that was chosen
  show(Float32Array.of(inside(x), inside(y)), shown.y);
}

function setUpPlane() {
  $("plane-board").hidden = false;
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
  $("show-pictures").addEventListener("change", () => ($("plane-pictures").style.visibility = $("show-pictures").checked ? "" : "hidden"));
  $("show-codes").addEventListener("change", paintCodes);
  $("codes-name").textContent = model.codes.of;
  $("legend").hidden = model.codes.names.length === 0;
  model.codes.names.forEach((name, k) => {
    const button = document.createElement("button");
    const dot = document.createElement("i");
    dot.style.background = colour(k);
    button.append(dot, name);
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => {
      only = only === k ? null : k;
      [...$("legend").querySelectorAll("button")].forEach((b, i) => b.setAttribute("aria-pressed", String(i === only)));
      paintCodes();
    });
    $("legend").appendChild(document.createElement("li")).append(button);
  });
  new ResizeObserver(paintCodes).observe($("plane"));
}

let only = null; // the class whose codes alone are shown
const colour = (k) => (k < COLOURS.length ? COLOURS[k] : `hsl(${(k * 137.5) % 360} 80% 65%)`);

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

/** The pictures of a regular grid of codes, dimmed, row by row, so that the hand never waits for more than one row. */
const paintPlane = newest(async (y) => {
  const cells = Math.min(28, Math.max(8, Math.round(672 / width)));
  const canvas = $("plane-pictures");
  [canvas.width, canvas.height] = [cells * width, cells * height];
  const context = canvas.getContext("2d");
  const centre = (i) => low + ((i + 0.5) / cells) * (high - low);
  for (let row = 0; row < cells; row++) {
    const z = Float32Array.from({ length: 2 * cells }, (_, i) => centre(i % 2 ? cells - 1 - row : i >> 1));
    const images = await decode(z, y);
    for (let i = 0; i < cells; i++) context.putImageData(pixels(images, i * size), i * width, row * height);
    context.fillStyle = "#0d0f1570";
    context.fillRect(0, row * height, canvas.width, height);
    await new Promise((resolve) => setTimeout(resolve));
  }
  performance.mark("plane");
});

// ---- the noise of a larger model, and where its code lies

function setUpNoise() {
  $("noise-board").hidden = false;
  document.querySelector(".stage").classList.add("noise");
  for (let i = 0; i < model.noise; i++) {
    if (i === chooses) continue;
    const label = document.createElement("label");
    const range = Object.assign(document.createElement("input"), { type: "range", min: 0.002, max: 0.998, step: 0.002, value: 0.5 });
    range.dataset.coordinate = i;
    label.append(`Noise ${i + 1}`, range, document.createElement("output"));
    range.addEventListener("input", () => {
      u[i] = range.valueAsNumber;
      tellNoise();
      showNoise();
    });
    $("sliders").append(label);
  }
  for (const [low, first, , third, high] of model.quantiles) { // of the prior's draws: 1, 25, 50, 75 and 99 %
    const [strip, half, dot] = ["i", "b", "s"].map((tag) => document.createElement(tag));
    half.style.left = `${(100 * (first - low)) / (high - low)}%`;
    half.style.width = `${(100 * (third - first)) / (high - low)}%`;
    strip.append(half, dot);
    $("strips").append(strip);
  }
  tellNoise();
}

function tellNoise() {
  for (const range of $("sliders").querySelectorAll("input")) {
    range.value = u[range.dataset.coordinate];
    range.nextElementSibling.textContent = range.valueAsNumber.toFixed(2);
  }
}

function placeDots(z) {
  [...$("strips").children].forEach((strip, i) => {
    const [low, , , , high] = model.quantiles[i];
    strip.lastChild.style.left = `${100 * Math.min(1, Math.max(0, (z[i] - low) / (high - low)))}%`;
  });
  $("strips").setAttribute("aria-label", `The code: ${text(z)}`);
}

// ---- labels and chance

const chosen = () => ($("label").value === "" ? null : Number($("label").value));

async function labelChanged() {
  const k = chosen();
  const said = k === null ? "Any label." : `Label ${model.labels[k]}.`;
  if (shown.y && k !== null) { // the code keeps the style
    const y = Float32Array.from(model.labels, (_, i) => Number(i === k));
    u[chooses] = (k + 0.5) / model.labels.length;
    await show(shown.z, y, said);
    if (inPlane) paintPlane(y);
  } else if (k !== null) {
    u.fill(0.5);
    u[chooses] = (k + 0.5) / model.labels.length;
    tellNoise();
    showNoise(said);
  }
}

function random() {
  u = Float32Array.from(u, () => 0.001 + 0.998 * Math.random());
  if (chosen() !== null) u[chooses] = (chosen() + u[chooses]) / model.labels.length;
  tellNoise();
  showNoise("A random picture.");
}

// ---- a picture in, its code and its reconstruction out

const encode = newest(async (image, said = "") => {
  encoder ??= await session("encoder");
  const codes = await run(encoder, { image: tensor(image, channels, height, width) });
  const conditional = decoder.inputNames.includes("y");
  const y = conditional ? (codes.y?.data ?? shown.y) : null;
  $("label").value = "";
  await show(codes.z.data, y);
  const again = await decode(codes.z.data, y);
  paint($("given"), image);
  paint($("again"), again);
  const error = again.reduce((sum, value, i) => sum + (value - image[i]) ** 2, 0) / size;
  const best = codes.y ? codes.y.data.indexOf(Math.max(...codes.y.data)) : -1;
  const classed = best < 0 ? "" : ` Class: ${model.labels[best]}, ${Math.round(100 * codes.y.data[best])} %.`;
  tellReading(`Encoded: code ${text(codes.z.data)}. Squared error per pixel: ${error.toFixed(4)}.${classed}${said}`);
  if (inPlane && y) paintPlane(y);
});

function tellReading(words) {
  $("reading").textContent = words;
  $("live").textContent = words;
}

/** What a picture drawn by `draw` into a context of the model's size is to the encoder, in [0, 1]; gray is ITU-R 601's. */
function rasterise(draw) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  draw(context);
  const { data } = context.getImageData(0, 0, width, height);
  const image = new Float32Array(size);
  for (let i = 0; i < height * width; i++) {
    const [r, g, b] = data.subarray(4 * i, 4 * i + 3);
    if (channels === 1) image[i] = ((19595 * r + 38470 * g + 7471 * b + 32768) >> 16) / 255;
    else [r, g, b].forEach((value, c) => (image[c * height * width + i] = value / 255));
  }
  return image;
}

async function encodeFile(file) {
  const picture = await createImageBitmap(file).catch(() => null);
  if (!picture) return tellReading(`${file.name} is no picture that this browser can read.`);
  const { image, inverted } = prepare(pixelsOf(picture), model, $("invert").value);
  return encode(image, inverted && $("invert").value === "auto" ? " Its ground is not that of the model’s images, so it was inverted." : "");
}

/** The drawing as the data sets have theirs: filling its part of the picture, its centre of mass in the middle. */
function fromPad() {
  const drawn = pixelsOf($("pad"));
  if (!drawn.data.some(Boolean)) return null;
  return prepare(drawn, { ...model, preparation: { ...model.preparation, fit: "digit", ground: "black" } }).image;
}

function setUpEncoder() {
  const context = $("pad").getContext("2d", { willReadFrequently: true });
  Object.assign(context, { lineWidth: 24, lineCap: "round", lineJoin: "round", strokeStyle: "#fff" });
  const at = (event) => {
    const box = $("pad").getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * 280, ((event.clientY - box.top) / box.height) * 280];
  };
  let last = null;
  const stroke = (event) => {
    const to = at(event);
    context.beginPath();
    context.moveTo(...last);
    context.lineTo(...to);
    context.stroke();
    last = to;
    const image = fromPad();
    if (image) encode(image);
  };
  $("pad").addEventListener("pointerdown", (event) => {
    $("pad").setPointerCapture(event.pointerId);
    last = at(event);
    stroke(event);
  });
  $("pad").addEventListener("pointermove", (event) => event.buttons && last && stroke(event));
  $("clear").addEventListener("click", () => {
    context.clearRect(0, 0, 280, 280);
    $("live").textContent = "The drawing is cleared.";
  });
  $("file").addEventListener("change", () => $("file").files[0] && encodeFile($("file").files[0]));
  const zone = $("encode");
  for (const name of ["dragover", "dragleave", "drop"])
    zone.addEventListener(name, (event) => {
      event.preventDefault();
      zone.classList.toggle("over", name === "dragover");
      if (name === "drop" && event.dataTransfer.files[0]) encodeFile(event.dataTransfer.files[0]);
    });
  let number = 0;
  const tests = fetch("pictures.png").then((answer) => answer.blob()).then(createImageBitmap);
  $("test").addEventListener("click", async () => {
    const picture = await tests;
    const left = (number++ % (picture.width / width)) * width;
    encode(rasterise((context) => context.drawImage(picture, left, 0, width, height, 0, 0, width, height)));
  });
}

// ---- between two points

const ends = { a: null, b: null };
const mix = (p, q, t) => p && Float32Array.from(p, (value, i) => (1 - t) * value + t * q[i]);
const along = (t) => [mix(ends.a.z, ends.b.z, t), mix(ends.a.y, ends.b.y, t)];

const paintWalk = newest(async () => {
  const walk = [];
  for (let i = 0; i < STEPS; i++) walk.push(...(await decode(...along(i / (STEPS - 1)))));
  paint($("walk"), Float32Array.from(walk));
  $("walk").setAttribute("aria-label", `The walk from A to B in ${STEPS} pictures`);
});

function setEnd(end) {
  ends[end] = shown;
  const name = end.toUpperCase();
  paint($(`picture-${end}`), shown.image);
  $(`picture-${end}`).setAttribute("aria-label", `Point ${name}, code ${text(shown.z)}`);
  $("live").textContent = `Point ${name} is set.`;
  if (!ends.a || !ends.b) return;
  $("between").disabled = false;
  $("between").value = end === "a" ? 0 : 100;
  paintWalk();
}

// ---- the start

async function start() {
  for (const id of ["picture", "given", "again", "picture-a", "picture-b"]) paint($(id), new Float32Array(size));
  paint($("walk"), new Float32Array(STEPS * size));
  [prior, decoder] = await Promise.all([session("prior"), session("decoder")]);
  if (inPlane) setUpPlane();
  else setUpNoise();
  setUpEncoder();
  if (chooses !== null) {
    model.labels.forEach((name, k) => $("label").add(new Option(name, k)));
    $("label").parentElement.hidden = false;
    $("label").addEventListener("change", labelChanged);
  }
  $("random").addEventListener("click", random);
  $("save").addEventListener("click", save);
  $("set-a").addEventListener("click", () => setEnd("a"));
  $("set-b").addEventListener("click", () => setEnd("b"));
  $("between").addEventListener("input", () => {
    $("label").value = "";
    show(...along($("between").valueAsNumber / 100));
  });
  await showNoise();
  performance.mark("first picture");
  $("status").hidden = true;
  for (const id of ["random", "save", "test", "set-a", "set-b"]) $(id).disabled = false;
  if (inPlane) await paintPlane(shown.y);
  encoder ??= await session("encoder");
}

await start().catch(fail);

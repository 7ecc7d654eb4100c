// A picture in: its code, its reconstruction, its anomaly score, and the same hand with every value of every attribute.
import { ask, called, forget } from "./attributes.js";
import { channels, decode, detect, encode, fetched, height, inPlane, loadEncoder, model, mostProbable, priorDraws, size, width, withEachValue } from "./model.js";
import { $, make, newest, paint, paintHeat, say, text } from "./pictures.js";
import { paintPlane } from "./plane.js";
import { pixelsOf, prepare } from "./preparation.js";
import { distanceFrom, percentileOf, scoreOf, squaredError } from "./score.js";
import { show, shown } from "./stage.js";

let live; // a promise that is kept once there is a decoder
let encodes = false;
let given = []; // the files that were given, the first of which is shown; none where something else is

/** Says of a picture that does not come, as where the network is gone, why; it can be asked for again. */
const orWhy = (work) => async (...values) => {
  try {
    await work(...values);
  } catch (error) {
    tellReading(`The picture cannot be read: ${error.message ?? error}.`);
  }
};

const read = newest(orWhy(async (image, said = "") => {
  if (!encodes) tellReading("The encoder is loading …");
  await live;
  await loadEncoder();
  encodes = true;
  const { z, y: classes } = await encode(image);
  const y = model.conditional ? (classes ?? shown.y) : null;
  forget();
  await show(z, y);
  const again = await decode(z, y);
  paint($("given"), image);
  paint($("again"), again);
  const redraws = model.conditional ? await withEachValue(z, y) : [];
  tellRedraws(z, redraws);
  // Where the encoder reads no class, the score is that of the class that reconstructs the picture best.
  const drawn = model.conditional && !classes ? redraws.map((one) => one.image) : [again];
  const errors = drawn.map((each) => squaredError(each, image));
  const classed = classes ? mostProbable(classes).map((k, i) => told(model.attributes[i], k, classes)).join("") : "";
  if (model.detector) await tellDetected(image);
  else tellScore(image, Math.min(...errors), z);
  tellReading(`Encoded: code ${text(z)}. Squared error per pixel: ${squaredError(again, image).toFixed(4)}.${classed}${said}`);
  if (inPlane && y) paintPlane(y);
}));

function told(attribute, k, classes) {
  const name = attribute.name === "label" ? "Class" : called(attribute);
  const label = `\u2068${attribute.labels[k]}\u2069`; // an isolate: from right to left it would take the number along
  return ` ${name}: ${label}, ${Math.round(100 * classes[attribute.first + k])} %.`;
}

function tellReading(words) {
  $("reading").textContent = words;
  say(words);
}

async function tellDetected(image) {
  const { score, map } = await detect(image);
  const { false_alarms, images } = model.detector;
  showScore(score, 1);
  paintHeat($("odd"), image, map);
  $("odd").parentElement.hidden = false;
  $("score-text").textContent =
    `Anomaly score ${score.toFixed(2)}: ${score > 1 ? "out of the ordinary" : "ordinary"}. ` +
    `${+(100 * false_alarms).toPrecision(3)} % of ordinary pictures are above 1, as was set on ${images.toLocaleString("en")} of them.`;
}

function showScore(score, threshold) {
  globalThis.aaeZoo.score = score;
  Object.assign($("score"), { max: 2 * threshold, high: threshold, optimum: 0, value: score });
  $("score-box").hidden = false;
}

function tellScore(image, error, z) {
  if (!model.score) return;
  const distance = distanceFrom(z, priorDraws());
  const score = scoreOf(image, error, distance, model.score);
  const { threshold, images, distances } = model.score;
  showScore(score, threshold);
  $("score-text").textContent =
    `Anomaly score ${score.toFixed(2)}: ${score > threshold ? "out of the ordinary" : "ordinary"}. ` +
    `Of ${images.toLocaleString("en")} pictures that the model had not seen, 99 % are at most at ${threshold.toFixed(2)}. ` +
    `The code is farther from what the model draws than ${percentileOf(distance, distances)} % of its own samples are.`;
}

function tellRedraws(z, redraws) {
  $("redraws-box").hidden = !redraws.length;
  $("redraws").replaceChildren(
    ...redraws.map(({ i, k, y, image }) => {
      const { name, labels } = model.attributes[i];
      const canvas = make("canvas");
      paint(canvas, image);
      canvas.setAttribute("aria-hidden", "true");
      const button = make("button", {}, canvas, make("span", { textContent: written(model.attributes[i], k) }));
      button.addEventListener("click", () => {
        ask(i, k);
        show(z, y, `Redrawn with ${name} ${labels[k]}.`);
      });
      return make("li", {}, button);
    }),
  );
}

/** A value as a button says it: with its attribute, where there are several. */
const written = ({ name, labels }, k) => (model.attributes.length > 1 ? `${name}: ${labels[k]}` : labels[k]);

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

/** Of files that are given while one is read, the last is shown, however long each takes. */
const readGiven = newest(async () => {
  const [file, ...others] = given;
  if (!file) return;
  const left = others.length ? ` It is the first of ${others.length + 1} files; the others were not read.` : "";
  const picture = await createImageBitmap(file).catch(() => null);
  if (!picture) return tellReading(`${file.name} is not a picture that this browser can read.${left}`);
  const pixels = pixelsOf(picture);
  picture.close(); // else hundreds of megabytes of a large one stay for long
  const { image, inverted } = prepare(pixels, model, $("invert").value);
  const why = inverted && $("invert").value === "auto" ? " Its ground is not that of the model’s images, so it was inverted." : "";
  return read(image, why + left);
});

function take(files) {
  if (!files.length) return;
  given = [...files];
  readGiven();
}

/** The drawing as the data sets have theirs: filling its part of the picture, its centre of mass in the middle. */
function fromPad() {
  const drawn = pixelsOf($("pad"));
  if (!drawn.data.some(Boolean)) return null;
  return prepare(drawn, { ...model, preparation: { ...model.preparation, fit: "digit", ground: "black" } }).image;
}

export function setUpDrawing(whenLive) {
  live = whenLive;
  for (const id of ["given", "again"]) paint($(id), new Float32Array(size));
  const letters = model.attributes.flatMap((attribute) => attribute.labels.map((_, k) => written(attribute, k).length));
  $("redraws").style.setProperty("--letters", Math.max(0, ...letters));
  setUpPad();
  $("file").addEventListener("change", () => {
    take($("file").files);
    $("file").value = ""; // or else the same file, opened again, would be no change
  });
  $("invert").addEventListener("change", readGiven);
  for (const name of ["dragover", "dragleave", "drop"])
    addEventListener(name, (event) => { // all over the page, which the browser would leave for a file that misses its place
      event.preventDefault();
      $("encode").classList.toggle("over", name === "dragover");
      if (name === "drop") take(event.dataTransfer.files);
    });
  let number = 0;
  let tests = null;
  $("test").addEventListener("click", orWhy(async () => {
    tests ??= await createImageBitmap(await (await fetched("pictures.png")).blob());
    given = [];
    const left = (number++ % (tests.width / width)) * width;
    read(rasterise((context) => context.drawImage(tests, left, 0, width, height, 0, 0, width, height)));
  }));
}

function setUpPad() {
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
    context.lineTo(to[0] + 0.01, to[1]); // of a line without a length, as a tap's is, nothing would be drawn
    context.stroke();
    last = to;
    const image = fromPad();
    given = [];
    if (image) read(image);
  };
  $("pad").addEventListener("pointerdown", (event) => {
    $("pad").setPointerCapture(event.pointerId);
    last = at(event);
    stroke(event);
  });
  $("pad").addEventListener("pointermove", (event) => event.buttons && last && stroke(event));
  for (const name of ["pointerup", "pointercancel"]) $("pad").addEventListener(name, () => (last = null));
  $("clear").addEventListener("click", () => {
    context.clearRect(0, 0, 280, 280);
    say("The drawing is cleared.");
  });
}

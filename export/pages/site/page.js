// The page of one model, from its first picture to its last control.
import { asked, called, enableAttributes, setUpAttributes } from "./attributes.js";
import { setUpDrawing } from "./drawing.js";
import { fail } from "./fail.js";
import { codeOf, fragmentOf } from "./link.js";
import { drawPrior, inPlane, load, loadEncoder, model, withValue } from "./model.js";
import { $, enlarged, saveFile, say } from "./pictures.js";
import { paintPlane, setUpPlane } from "./plane.js";
import { enableSliders, setUpSliders } from "./sliders.js";
import { goLive, isLive, sampleCode, show, shown, whenShown } from "./stage.js";
import { setUpWalk } from "./walk.js";
import { setUpWall } from "./wall.js";

const SIDE = 560; // pixels of a picture that is saved, about
const SETTLED = 300; // milliseconds after which a code is written into the address

/** Shows the first picture, and comes back once the model decodes. */
export async function start() {
  await Promise.all(["wall-picture", "plane-atlas"].map((id) => $(id)?.decode()));
  if (inPlane) setUpPlane();
  else setUpSliders();
  const { z, y } = codeOf(location.hash, model) ?? sampleCode(0);
  await show(z, y);
  performance.mark("first picture");
  setUpWall();
  setUpWalk();
  setUpAttributes((i) => askedOther(i).catch(fail));
  setUpLink();
  $("random").addEventListener("click", random);
  $("save").addEventListener("click", save);
  for (const id of ["random", "save"]) $(id).disabled = false;
  const loaded = load(tellProgress).then(goLive);
  setUpDrawing(loaded);
  await loaded;
  performance.mark("live");
  $("loading").hidden = true;
  for (const id of ["test", "set-a", "set-b"]) $(id).disabled = false;
  enableAttributes();
  if (!inPlane) enableSliders();
  await loadEncoder().then(() => performance.mark("encoder"), () => {}); // what is drawn asks again, and is told why
}

function tellProgress(come) {
  $("progress").max = model.bytes;
  $("progress").value = Math.min(come, model.bytes);
}

// ---- attributes and chance

async function askedOther(i) {
  const attribute = model.attributes[i];
  const k = asked()[i];
  const said = k === null ? `Any ${attribute.name}.` : `${called(attribute)} ${attribute.labels[k]}.`;
  if (shown.y && k !== null) { // the code keeps the style
    const y = withValue(shown.y, attribute, k);
    await show(shown.z, y, said);
    if (inPlane) paintPlane(y);
  } else if (k !== null) {
    await showNoise(new Float32Array(model.noise).fill(0.5), said);
  }
}

async function showNoise(u, said) {
  asked().forEach((k, i) => {
    const { coordinate, labels } = model.attributes[i];
    if (k !== null) u[coordinate] = (k + u[coordinate]) / labels.length;
  });
  const { z, y } = await drawPrior(u);
  await show(z, y, said);
}

async function random() {
  if (isLive()) return showNoise(Float32Array.from({ length: model.noise }, () => 0.001 + 0.998 * Math.random()), "A random picture.").catch(fail);
  const { z, y } = sampleCode(Math.floor(Math.random() * model.wall.z.length));
  return show(z, y, "A random picture.");
}

// ---- what is taken away: the picture, and the address

function save() {
  enlarged($("picture"), SIDE).toBlob((blob) => {
    saveFile(blob, `${model.name}.png`);
    say("The picture is saved.");
  });
}

function setUpLink() {
  let settled;
  whenShown((code) => {
    clearTimeout(settled);
    settled = setTimeout(() => history.replaceState(null, "", `#${fragmentOf(code, model)}`), SETTLED);
  });
  addEventListener("hashchange", ({ newURL }) => { // the address itself may have been written anew by now
    const code = codeOf(new URL(newURL).hash, model);
    if (code) show(code.z, code.y, "The code of the address.");
  });
  $("link").addEventListener("click", async () => {
    history.replaceState(null, "", `#${fragmentOf(shown, model)}`);
    const copied = await navigator.clipboard?.writeText(location.href).then(() => true, () => false);
    $("where").textContent = copied ? "A link to this picture is copied." : "The address above is the link to this picture.";
    say($("where").textContent);
  });
}

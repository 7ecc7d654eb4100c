// The code that a page shows, in the fragment of its address: #z=0.5,-1.25 with &label=3, or &y= and probabilities.

const MOST = 8192; // letters; codes have at most some hundred numbers
const NUMBER = /^-?\d{1,6}(\.\d{1,9})?$/;
const SMALLEST = 1e-4; // what is left of a probability when it is written

const list = (values, digits) => Array.from(values, (value) => Number(value.toFixed(digits))).join(",");

/** The fragment, without its #, for a code. */
export function fragmentOf({ z, y }) {
  const code = `z=${list(z, 4)}`;
  if (!y) return code;
  const sure = y.findIndex((p) => p >= 1 - SMALLEST);
  return sure < 0 ? `${code}&y=${list(y, 4)}` : `${code}&label=${sure}`;
}

/** The code { z, y } that a fragment has for this model, or null where it has anything else. */
export function codeOf(fragment, { latent, labels, conditional }) {
  if (fragment.length > MOST) return null;
  const fields = new URLSearchParams(fragment.replace(/^#/, ""));
  const z = numbers(fields.get("z"), latent);
  if (!z || !conditional) return z && { z, y: null };
  const y = fields.has("y") ? numbers(fields.get("y"), labels.length) : oneHot(fields.get("label"), labels.length);
  return y?.every((p) => p >= 0 && p <= 1) ? { z, y } : null;
}

function numbers(text, count) {
  const parts = (text ?? "").split(",");
  return parts.length === count && parts.every((part) => NUMBER.test(part)) ? Float32Array.from(parts, Number) : null;
}

function oneHot(text, count) {
  if (!/^\d{1,4}$/.test(text ?? "") || Number(text) >= count) return null;
  return Float32Array.from({ length: count }, (_, i) => Number(i === Number(text)));
}

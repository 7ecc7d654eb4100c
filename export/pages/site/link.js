// The code that a page shows, in the fragment of its address: #z=0.5,-1.25 with &label=3, or &y= and probabilities. Of
// several attributes the label is the number of each one's value: &label=0,2.

const MOST = 8192; // letters; codes have at most some hundred numbers
const NUMBER = /^-?\d{1,6}(\.\d{1,9})?$/;
const SMALLEST = 1e-4; // what is left of a probability when it is written

const list = (values, digits) => Array.from(values, (value) => Number(value.toFixed(digits))).join(",");

/** The fragment, without its #, for a code of this model. */
export function fragmentOf({ z, y }, { attributes }) {
  const code = `z=${list(z, 4)}`;
  if (!y) return code;
  const sure = attributes.map(({ first, labels }) => y.slice(first, first + labels.length).findIndex((p) => p >= 1 - SMALLEST));
  return sure.includes(-1) ? `${code}&y=${list(y, 4)}` : `${code}&label=${sure.join(",")}`;
}

/** The code { z, y } that a fragment has for this model, or null where it has anything else. */
export function codeOf(fragment, { latent, attributes, conditional }) {
  if (fragment.length > MOST) return null;
  const fields = new URLSearchParams(fragment.replace(/^#/, ""));
  const z = numbers(fields.get("z"), latent);
  if (!z || !conditional) return z && { z, y: null };
  const counts = attributes.map(({ labels }) => labels.length);
  const all = counts.reduce((sum, count) => sum + count, 0);
  const y = fields.has("y") ? numbers(fields.get("y"), all) : oneHot(fields.get("label"), counts);
  return y?.every((p) => p >= 0 && p <= 1) ? { z, y } : null;
}

function numbers(text, count) {
  const parts = (text ?? "").split(",");
  return parts.length === count && parts.every((part) => NUMBER.test(part)) ? Float32Array.from(parts, Number) : null;
}

function oneHot(text, counts) {
  const parts = (text ?? "").split(",");
  if (parts.length !== counts.length || !parts.every((part, i) => /^\d{1,4}$/.test(part) && Number(part) < counts[i])) return null;
  return Float32Array.from(counts.flatMap((count, i) => Array.from({ length: count }, (_, k) => Number(k === Number(parts[i])))));
}

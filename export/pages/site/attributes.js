// What is asked for: a select for each attribute that the noise chooses.
import { model } from "./model.js";
import { $, make } from "./pictures.js";

const selects = [];

/** What an attribute is called; that of a model of one class is the label. */
export const called = ({ name }) => name.charAt(0).toUpperCase() + name.slice(1);

/** Makes the selects; `changed` is told the number of an attribute of which something else is asked. */
export function setUpAttributes(changed) {
  model.attributes.forEach((attribute, i) => {
    const select = make("select", { disabled: true }, new Option("any", ""));
    attribute.labels.forEach((label, k) => select.add(new Option(label, k)));
    select.addEventListener("change", () => changed(i));
    selects.push(select);
    if (attribute.coordinate !== null) $("attributes").append(make("label", { className: "row" }, `${called(attribute)} `, select));
  });
}

export function enableAttributes() {
  for (const select of selects) select.disabled = false;
}

/** The number of the value that is asked of each attribute, or null. */
export const asked = () => selects.map(({ value }) => (value === "" ? null : Number(value)));

/** Shows a value as asked for; no other attribute is asked for any longer. */
export function ask(i, k) {
  forget();
  selects[i].value = k;
}

/** Nothing is asked for any longer. */
export function forget() {
  for (const select of selects) select.value = "";
}

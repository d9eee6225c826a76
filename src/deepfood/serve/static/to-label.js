// Photos without a label that are worth one, with what their neighbours suggest.

import { combobox } from "./combobox.js";
import { $ } from "./dom.js";
import { nameOf, readable } from "./gallery.js";
import { labelsLike } from "./label-field.js";
import { strong, tended } from "./tended.js";
import { parts, t } from "./text.js";

const keyOf = ({ id }) => JSON.stringify(["to-label", id]);

/** The list, for curated.js. */
export const toLabel = {
  address: "api/v1/to-label",
  entries: (page) => page.photos,
  key: keyOf,
  item,
  said: (count) => t("to-label.count", { count }),
  none: () => t("to-label.none"),
};

function item(photo) {
  const { guess } = photo;
  return tended({ ...photo, label: null }, keyOf(photo), ({ button, leave, relabel }) => ({
    why: guess ? parts("to-label.why", { label: strong(guess) }) : parts("to-label.unknown"),
    does: [
      ...(guess ? [button(t("to-label.set", { label: readable(guess) }), () => relabel(guess), "")] : []),
      field(photo, relabel),
      leave(t("curated.leave"), t("curated.left")),
    ],
  }));
}

/** A field for another label. */
function field(photo, relabel) {
  const form = $("to-label-form").content.cloneNode(true).firstElementChild;
  const [input, list] = [form.querySelector("input"), form.querySelector("ul")];
  input.setAttribute("aria-label", t("to-label.field", { name: nameOf(photo) }));
  list.id = `labels-${photo.id}`;
  input.setAttribute("aria-controls", list.id);
  const suggestions = combobox(input, list, () => labelsLike(input.value), ({ text }) => {
    input.value = text;
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (suggestions.choose()) return;
    suggestions.close();
    const label = input.value.trim();
    if (label) relabel(label);
    else input.focus();
  });
  return form;
}

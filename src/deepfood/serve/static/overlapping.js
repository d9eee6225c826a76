// Pairs of labels whose photos are hard to tell apart: two names of one dish, perhaps.

import { $, element } from "./dom.js";
import { readable } from "./gallery.js";
import { dismiss } from "./reviewed.js";
import { strong } from "./tended.js";
import { parts, percent, t } from "./text.js";
import { browseAddress } from "./views.js";

const keyOf = ({ labels }) => JSON.stringify(["overlap", ...labels]);

/** The list, for curated.js. */
export const overlapping = {
  address: "api/v1/labels/overlapping",
  entries: (page) => page.pairs,
  key: keyOf,
  item,
  said: (count) => t("overlapping.count", { count }),
  none: () => t("overlapping.none"),
};

function item(pair) {
  const [first, second] = pair.labels;
  const made = $("overlap").content.cloneNode(true).firstElementChild;
  const [why, actions] = made.children;
  const values = { first: strong(first), second: strong(second), count: pair.photos, percent: percent(pair.share) };
  why.replaceChildren(...parts("overlapping.why", values));
  actions.prepend(...pair.labels.map(browse));
  actions.querySelector("button").addEventListener("click", () => dismiss(made, keyOf(pair), t("curated.left")));
  return made;
}

/** A link to all photos with a label. */
function browse(label) {
  const link = element("a", t("overlapping.browse", { label: readable(label) }));
  return Object.assign(link, { className: "button quiet small", href: browseAddress({ sort: "newest", label }) });
}

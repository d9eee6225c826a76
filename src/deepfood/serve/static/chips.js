// The photos in the search field: each a chip that is pressed to take it out, those that the hits should
// be unlike drawn apart.

import { $, announce, element } from "./dom.js";
import { MOST, fullNameOf, likesIn, thumb, unlikesIn } from "./examples.js";
import { t } from "./text.js";

/** Draw a chip for each example; `missing` are those that the gallery no longer has. */
export function showChips(examples, missing = []) {
  const list = $("chips");
  const ordered = [...likesIn(examples), ...unlikesIn(examples)];
  const focused = [...list.children].indexOf(document.activeElement.parentElement);
  list.replaceChildren(...ordered.map((one) => chip(one, missing.includes(one))));
  list.hidden = ordered.length === 0;
  if (focused >= 0) focusChip(focused); // drawn anew under the visitor's hands
  $("add").setAttribute("aria-label", ordered.length ? t("search.add") : t("search.photo"));
  drawHints(examples);
}

function chip(example, isMissing) {
  const [item, button] = [element("li", ""), element("button", "")];
  const { unlike } = example;
  const name = fullNameOf(example);
  item.className = "chip";
  item.classList.toggle("unlike", Boolean(unlike));
  item.classList.toggle("missing", isMissing);
  item.dataset.before = t("chip.not");
  button.type = "button";
  button.example = example;
  button.title = isMissing ? t("chip.missing", { name }) : unlike ? t("chip.unlike", { name }) : t("chip.like", { name });
  button.setAttribute("aria-label", button.title);
  button.append(thumb(example), element("span", "×"));
  button.lastElementChild.setAttribute("aria-hidden", "true");
  item.append(button);
  return item;
}

/** Say beside the photo what a link to this search lacks. */
function drawHints(examples) {
  const own = examples.filter(({ upload }) => upload).length;
  $("link-hint").hidden = own === 0;
  $("link-hint").textContent = own === examples.length ? t("link.all") : t("link.some");
}

/** `taken` gets the example whose chip was pressed. */
export function onChipPressed(taken) {
  $("chips").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    const at = [...$("chips").children].indexOf(button.parentElement);
    const name = fullNameOf(button.example);
    taken(button.example);
    focusChip(at);
    announce(t("chip.taken-out", { name }));
  });
}

/** Go to the chip at a place, or the last one, or where there is none, to the words. */
function focusChip(at) {
  const { children } = $("chips");
  (children[Math.min(at, children.length - 1)]?.firstElementChild ?? $("words")).focus();
}

/** Examples and others, as many as one question takes beside its words; `said` where some did not fit. */
export function joined(examples, others, words) {
  const room = MOST - (words ? 1 : 0) - examples.length;
  const fits = others.slice(0, Math.max(0, room));
  const left = others.length - fits.length;
  const values = { most: MOST, count: left };
  return {
    all: [...examples, ...fits],
    added: fits.length,
    said: !left ? "" : fits.length ? t("full.left-out", values) : t("full.take-out", values),
  };
}

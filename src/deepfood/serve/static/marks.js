// The marks on what was found: more like this, less like this.

import { $, element } from "./dom.js";
import { nameOf } from "./gallery.js";
import { t } from "./text.js";

const SAYS = { more: t("card.more"), less: t("card.less") };

/** Put the marks of a photo into a place. */
export function drawMarks(place, photo) {
  place.append(...Object.entries(SAYS).map(([kind, says]) => mark(kind, says, photo)));
}

function mark(kind, says, photo) {
  const button = $("mark").content.cloneNode(true).firstElementChild;
  button.classList.add(kind);
  button.title = says;
  button.append(element("span", t("card.mark", { mark: says, name: nameOf(photo) })));
  button.lastElementChild.className = "unseen";
  Object.assign(button.dataset, { id: photo.id, mark: kind });
  return button;
}

/** `marked` gets {id} or {id, unlike} when a mark in `list` is pressed. */
export function onMarked(list, marked) {
  list.addEventListener("click", (event) => {
    const button = event.target.closest(".mark");
    if (!button) return;
    const { id, mark: kind } = button.dataset;
    marked({ id, ...(kind === "less" && { unlike: true }) });
  });
}

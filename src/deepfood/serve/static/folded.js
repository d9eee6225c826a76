// Near-duplicates of a hit, folded beneath it: "+5 nearly the same" shows them in place.

import { nameOf } from "./gallery.js";
import { t } from "./text.js";

let lists = 0; // so far: a photo may be on the page twice
const unfolded = new Set(); // ids of hits: drawn again, they are as the visitor left them

/** Fill the button and the list of a card, with `link(photo)` for each; without any, both go. */
export function drawFolded(button, list, photo, link) {
  const { id, alike } = photo;
  if (!alike.length) {
    button.remove();
    list.remove();
    return;
  }
  list.id = `alike-${++lists}`;
  button.setAttribute("aria-controls", list.id);
  const draw = () => {
    const open = unfolded.has(id);
    button.setAttribute("aria-expanded", String(open));
    const values = { sign: open ? "−" : "+", count: alike.length, name: nameOf(photo) };
    button.firstElementChild.textContent = t("fold", values);
    button.setAttribute("aria-label", t("fold.as", values));
    list.hidden = !open;
    if (open && !list.children.length) list.append(...alike.map((one) => itemOf(link(one))));
  };
  button.addEventListener("click", () => {
    if (!unfolded.delete(id)) unfolded.add(id);
    draw();
  });
  draw();
}

function itemOf(link) {
  const item = document.createElement("li");
  item.append(link);
  return item;
}

// The tray at the lower edge: the photos chosen to be compared, and those that are marked (marks.js).

import { $, announce, element } from "./dom.js";
import { knownPhoto, nameOf } from "./gallery.js";
import { keep, restored } from "./stored.js";
import { t } from "./text.js";
import { compareAddress } from "./views.js";

export const MOST = 4;
const KEY = "deepfood.compare";

let chosen = restored(KEY).slice(0, MOST);

/** Choose photos, and have all buttons and the tray say so. */
export function choose(ids) {
  chosen = [...new Set(ids)].slice(0, MOST);
  keep(KEY, chosen);
  showChosen();
}

/** Have the buttons in a part of the page say whether their photo is chosen. */
export function showPicks(part = document) {
  for (const button of part.querySelectorAll("[data-pick]")) {
    const isChosen = chosen.includes(button.dataset.pick);
    button.setAttribute("aria-pressed", String(isChosen));
    button.disabled = chosen.length === MOST && !isChosen;
  }
}

/** A button that chooses a photo, or no longer. */
export function pickWith(button, photo) {
  button.dataset.pick = photo.id;
  button.title = t("compare");
  const about = button.querySelector(".unseen");
  if (about) about.textContent = t("tray.pick", { name: nameOf(photo) });
  showPicks(button.parentElement);
}

async function showChosen() {
  showPicks();
  const ready = chosen.length > 1;
  fillPart($("tray-compare"), $("tray-list"), chosen.map(chosenPhoto));
  for (const link of [$("tray-go"), $("detail-compare")]) {
    link.hidden = !ready;
    link.href = compareAddress(chosen);
    link.textContent = t("tray.compare", { count: chosen.length });
  }
  $("tray-said").textContent = ready ? "" : t("tray.one-more");
}

/** Fill a part of the tray with items; the tray is there as long as one of its parts has some. */
export function fillPart(part, list, items) {
  const place = [...list.children].findIndex((item) => item.contains(document.activeElement));
  list.replaceChildren(...items);
  part.hidden = !items.length;
  const isFull = [...document.querySelectorAll("#tray > .of")].some((one) => !one.hidden);
  $("tray").hidden = !isFull;
  document.body.classList.toggle("with-tray", isFull);
  if (place >= 0) (items[Math.min(place, items.length - 1)]?.firstElementChild ?? $("main")).focus();
}

/** A photo in the tray as a button that takes it out; `says` what it does, of a name. */
export function trayItem(id, says) {
  const [item, button, image] = ["li", "button", "img"].map((tag) => document.createElement(tag));
  const about = element("span", "");
  about.className = "unseen";
  image.src = `thumbnails/${id}`;
  image.alt = "";
  button.type = "button";
  button.append(image, about);
  item.append(button);
  about.textContent = says(nameOf({ id })); // until more is known
  knownPhoto(id).then((photo) => (about.textContent = says(nameOf(photo)))).catch(() => item.remove());
  return item;
}

function chosenPhoto(id) {
  const item = trayItem(id, (name) => t("tray.unpick", { name }));
  item.firstElementChild.dataset.unpick = id;
  return item;
}

document.addEventListener("click", (event) => {
  const pick = event.target.closest?.("[data-pick]");
  const unpick = event.target.closest?.("[data-unpick]");
  if (!pick && !unpick) return;
  const id = pick?.dataset.pick ?? unpick.dataset.unpick;
  const had = chosen.includes(id);
  choose(had ? chosen.filter((one) => one !== id) : [...chosen, id]);
  const { length: count } = chosen;
  const said = count === MOST ? t("tray.most", { count }) : t("tray.chosen", { count });
  announce(said);
  if ($("detail").open) $("detail-status").textContent = said;
});
$("tray-clear").addEventListener("click", () => {
  choose([]);
  announce(t("tray.chosen", { count: 0 }));
  $("main").focus();
});
showChosen();

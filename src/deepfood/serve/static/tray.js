// The photos chosen to be compared, in a tray at the lower edge; kept as long as the tab is.

import { $, announce, element } from "./dom.js";
import { knownPhoto, nameOf } from "./gallery.js";
import { t } from "./text.js";
import { compareAddress } from "./views.js";

export const MOST = 4;
const KEY = "deepfood.compare";

let chosen = restored();

function restored() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY) ?? "[]").slice(0, MOST);
  } catch {
    return []; // a browser that keeps nothing
  }
}

/** Choose photos, and have all buttons and the tray say so. */
export function choose(ids) {
  chosen = [...new Set(ids)].slice(0, MOST);
  try {
    sessionStorage.setItem(KEY, JSON.stringify(chosen));
  } catch {
    // Then a reload forgets them.
  }
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
  $("tray").hidden = chosen.length === 0;
  document.body.classList.toggle("with-tray", chosen.length > 0);
  for (const link of [$("tray-go"), $("detail-compare")]) {
    link.hidden = !ready;
    link.href = compareAddress(chosen);
    link.textContent = t("tray.compare", { count: chosen.length });
  }
  $("tray-said").textContent = ready ? "" : t("tray.one-more");
  $("tray-list").replaceChildren(...chosen.map(chosenPhoto));
}

function chosenPhoto(id) {
  const [item, button, image] = ["li", "button", "img"].map((tag) => document.createElement(tag));
  const about = element("span", "");
  about.className = "unseen";
  image.src = `thumbnails/${id}`;
  image.alt = "";
  button.type = "button";
  button.dataset.unpick = id;
  button.append(image, about);
  item.append(button);
  about.textContent = t("tray.unpick-unnamed");
  knownPhoto(id).then((photo) => (about.textContent = t("tray.unpick", { name: nameOf(photo) }))).catch(() => item.remove());
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
  if (unpick) ($("tray-list").querySelector("button") ?? $("main")).focus();
});
$("tray-clear").addEventListener("click", () => {
  choose([]);
  announce(t("tray.chosen", { count: 0 }));
  $("main").focus();
});
showChosen();

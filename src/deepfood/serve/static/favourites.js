// The view of all favourites, at `?favourites`: those that are no longer in the gallery, too.

import { ask } from "./ask.js";
import { $, announce, element, entitle } from "./dom.js";
import { gallery, photos } from "./gallery.js";
import { clearFavourites, favouriteIds, favouriteOf, keepAgain, onFavourites, ready } from "./hearts.js";
import { tile } from "./tiles.js";
import { t } from "./text.js";
import { showSection } from "./views.js";

const AT_ONCE = 4; // photos that are asked for

let shown = []; // favourites as they were when the view was drawn: a heart that is taken away can be given back
let gone = new Set(); // ids that this gallery lacks
let cleared = []; // for undoing

/** Draw the view. */
export async function showFavourites(signal, focus) {
  await ready;
  if (signal.aborted) return;
  shown = favouriteIds().map(favouriteOf);
  showSection("favourites");
  entitle($("favourites-title").textContent);
  if (focus) $("favourites-title").focus({ preventScroll: true });
  draw();
  announce(`${$("favourites-title").textContent}. ${$("favourites-summary").textContent}`);
  await gallery.loaded;
  await lookUp(signal);
}

function draw() {
  $("favourites-list").replaceChildren(...shown.map(item));
  drawCount();
}

function drawCount() {
  const count = favouriteIds().length;
  $("favourites-summary").textContent = count ? t("favourites.count", { count }) : "";
  $("favourites-empty").hidden = shown.length > 0;
  $("favourites-actions").hidden = count === 0;
  $("favourites-undo").hidden = count > 0 || cleared.length === 0;
}

function item(favourite, number) {
  const photo = { width: 1, height: 1, ...favourite, ...photos.get(favourite.id), attributes: {} };
  const made = tile(photo, "newest", number, shown.length);
  if (gone.has(favourite.id)) sayGone(made);
  return made;
}

/** A photo that the gallery lacks: a plate, its name, and the heart to take it out by. */
function sayGone(made) {
  const [link] = made.children;
  const plain = element("div", "");
  plain.append(...link.childNodes);
  plain.querySelector("img").removeAttribute("src");
  plain.querySelector(".frame").classList.add("broken");
  link.replaceWith(plain);
  made.querySelector(".pick").remove();
  made.querySelector(".label").textContent = t("favourites.gone");
}

/** Ask for all that is known of the photos, and which are gone. */
async function lookUp(signal) {
  const waiting = shown.map(({ id }) => id).filter((id) => !photos.get(id)?.attributes && !gone.has(id));
  const worker = async () => {
    for (let id = waiting.shift(); id && !signal.aborted; id = waiting.shift()) await lookUpOne(id, signal);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

async function lookUpOne(id, signal) {
  try {
    const photo = await ask(`api/v1/photos/${encodeURIComponent(id)}`, { signal });
    photos.set(id, { ...photos.get(id), ...photo });
  } catch (problem) {
    if (signal.aborted || problem.status !== 404) return; // it stays as it was kept
    gone.add(id);
    const made = $("favourites-list").querySelector(`[data-heart="${CSS.escape(id)}"]`)?.parentElement;
    if (made) sayGone(made);
  }
}

/** All that is known of the favourites, for saving; `gone`: the gallery lacks it. */
export async function savedFavourites() {
  await lookUp(new AbortController().signal);
  return favouriteIds().map((id) => ({ ...favouriteOf(id), ...photos.get(id), gone: gone.has(id) }));
}

$("favourites-clear").addEventListener("click", async () => {
  cleared = await clearFavourites();
  shown = favouriteIds().map(favouriteOf);
  draw();
  announce(t("favourites.cleared"));
  $("favourites-undo").focus();
});
$("favourites-undo").addEventListener("click", async () => {
  await keepAgain(cleared);
  cleared = [];
  $("favourites-title").focus();
});

onFavourites(() => {
  if ($("favourites").hidden) return;
  const ids = new Set(shown.map(({ id }) => id));
  if (favouriteIds().every((id) => ids.has(id))) return drawCount(); // hearts show which are left
  shown = favouriteIds().map(favouriteOf);
  draw();
});

// Favourites: which photos have a heart, on this device only.
//
// A favourite is {id, at, name, label}. Ids are of photos' contents: the same in every gallery, and
// one that this gallery lacks is shown as gone (favourites.js).

import { $, announce } from "./dom.js";
import { nameOf, photos } from "./gallery.js";
import { onKept, resultOf, withStores } from "./kept.js";
import { t } from "./text.js";

let favourites = new Map(); // by id, the newest first
const watching = [];

/** Done when what the browser keeps is read. */
export const ready = read();

export const favouriteIds = () => [...favourites.keys()];
export const favouriteOf = (id) => favourites.get(id);

/** `changed` is called after each change, also by another tab. */
export const onFavourites = (changed) => watching.push(changed);

async function read() {
  const all = await withStores(["favourites"], "readonly", (kept) => resultOf(kept.getAll())).catch(() => []);
  favourites = new Map(all.sort((a, b) => b.at - a.at).map((one) => [one.id, one]));
  showHearts();
  for (const changed of watching) changed();
}

/** Change what is kept; answers whether the browser did. */
async function change(act) {
  try {
    await withStores(["favourites"], "readwrite", act);
    await read();
    return true;
  } catch {
    announce(t("favourites.refused"));
    return false;
  }
}

/** Take all favourites out; answers them, for `keepAgain`. */
export async function clearFavourites() {
  const all = [...favourites.values()];
  return (await change(async (kept) => kept.clear())) ? all : [];
}

export const keepAgain = (all) => change(async (kept) => all.forEach((one) => kept.put(one)));

/** A button that makes a photo a favourite, or no longer. */
export function heartOf(photo) {
  const button = $("heart").content.cloneNode(true).firstElementChild;
  heartWith(button, photo);
  return button;
}

/** Have a button be the heart of a photo. */
export function heartWith(button, photo) {
  button.dataset.heart = photo.id;
  const about = button.querySelector(".unseen");
  if (about) about.textContent = t("favourites.heart", { name: nameOf(photo) });
  showHeart(button);
}

function showHeart(button) {
  button.setAttribute("aria-pressed", String(favourites.has(button.dataset.heart)));
}

function showHearts() {
  for (const button of document.querySelectorAll("[data-heart]")) showHeart(button);
}

document.addEventListener("click", (event) => {
  const id = event.target.closest?.("[data-heart]")?.dataset.heart;
  if (!id) return;
  const { name = null, label = null } = photos.get(id) ?? favourites.get(id) ?? {};
  change(async (kept) => (favourites.has(id) ? kept.delete(id) : kept.put({ id, at: Date.now(), name, label })));
});
onKept("favourites", read);

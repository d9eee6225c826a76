// What is on the page: a view, and over it the detail view of a photo where history says so.

import { unreachable } from "./ask.js";
import { browseList, showBrowse } from "./browse.js";
import { showCompare } from "./compare.js";
import { cardsIn, closeDetail, detailIsOpen, openDetail, overDrawn } from "./detail.js";
import { $, announce, entitle, onPlainClick, tell } from "./dom.js";
import { showFavourites } from "./favourites.js";
import { onChanged } from "./gallery.js";
import { t } from "./text.js";
import { browsed, compared, favoured, looked, lookedAfter, showSection } from "./views.js";
import { go, wanted } from "./visits.js";
import { closeWhy } from "./why.js";

const LISTED = ["*='?browse='", "*='?compare='", "*='?look-after'", "$='?favourites'"].map((one) => `a[href${one}]`).join();

let behind = ""; // the view that is drawn, and may lie behind the detail view

/** Whether it is neither a search nor the start page; then `showListed` draws it. */
export const isListed = () => Boolean(browsed() || compared() || favoured() || lookedAfter() !== null);

export async function showListed(signal, focus) {
  if (lookedAfter() !== null) return lookAfter(signal, focus);
  if (favoured()) return showFavourites(signal, focus);
  return compared() ? showCompare(compared(), signal, focus) : showBrowse(browsed(), signal, focus);
}

/** Few visitors have a key: what they need is loaded when it is first wanted. */
async function lookAfter(signal, focus) {
  const loaded = await import("./look-after.js").catch(() => null);
  if (signal.aborted) return;
  if (loaded) return loaded.showLookAfter(lookedAfter(), signal, focus);
  const problem = unreachable();
  showSection("look-after");
  $("look-after-title").textContent = t("problem.heading");
  entitle(t("problem.heading"));
  tell($("look-after-problem-text"), problem);
  $("look-after-problem").hidden = false;
  $("look-after-retry").onclick = () => location.reload(); // browsers may keep that an import failed
  announce(problem.message);
}

/** Draws all that history says; `show` draws the view alone, and is left out where it is there. */
export function withDetail(show) {
  return async ({ focus = false } = {}) => {
    const over = looked();
    const asked = JSON.stringify((favoured() && "favourites") || (lookedAfter() ?? compared() ?? browsed() ?? wanted()));
    const stays = asked === behind && (over || detailIsOpen());
    behind = asked;
    closeWhy();
    if (!over) closeDetail(stays);
    if (!stays) history.scrollRestoration = browsed() ? "manual" : "auto"; // browse.js keeps its own place
    const drawn = stays || show({ focus: focus && !over });
    if (over) openDetail(over, browsed() && !compared() && lookedAfter() === null ? browseList : cardsIn($("main")), focus);
    await drawn;
    if (behind === asked) overDrawn();
  };
}

onChanged(() => (behind = "")); // it is drawn anew when the detail view is left

/** Links to lists and comparisons are steps in the history of this page. */
onPlainClick(document, (event) => {
  const link = event.target.closest?.(LISTED);
  if (!link || link.dataset.look) return;
  event.preventDefault();
  go(null, link.search);
  scrollTo(0, 0);
});

// Browse: all photos of the gallery, or those of a label, in an order; the list has no end but the last.

import { partAround } from "./around.js";
import { reveal } from "./detail.js";
import { $, announce, entitle, tell } from "./dom.js";
import { PAGE, endless } from "./endless.js";
import { showFacets } from "./facets.js";
import { gallery, onChanged, pageOf, readable } from "./gallery.js";
import { showLabels } from "./labels.js";
import { t } from "./text.js";
import { ordersOf, tile } from "./tiles.js";
import { browseAddress, browsed, showSection } from "./views.js";
import { go } from "./visits.js";

const PAUSE_MS = 200; // in the scrolling, before the place is kept

let list = null;
let asked = null; // what the list is of
let beyond = null; // a part of it that is not loaded, where a link leads to
let growing = false;
let pausing = 0;
let isOld = false; // the gallery was changed since

/** Draw a list, where the history says. */
export async function showBrowse(wish, signal, focus) {
  const place = history.state?.place;
  const same = list && !isOld && JSON.stringify(asked) === JSON.stringify(wish) && list.count() >= (place?.known ?? 0);
  asked = wish;
  if (!same) drop();
  showSection("browse");
  $("browse-problem").hidden = true;
  drawHeading();
  if (focus) $("browse-title").focus({ preventScroll: true });
  showLabels(asked);
  const view = { rail: $("browse-facets"), opener: $("browse-filter"), label: wish.label };
  showFacets(view, wish.where, (where) => go(null, browseAddress({ ...asked, where }), false));
  if (!same) {
    $("browse-list").setAttribute("aria-busy", "true");
    const begun = endless({
      box: $("browse-list"),
      load: (cursor) => pageOf({ ...wish, cursor, limit: PAGE }),
      card: (photo, ...place) => tile(photo, wish.sort, ...place),
      lost: (problem) => list === begun && lost(problem),
    });
    try {
      await gallery.loaded;
      await begun.begin(place);
      if (signal.aborted) return begun.end();
      list = begun;
    } catch (problem) {
      begun.end();
      if (signal.aborted) return undefined;
      if (place && problem.field === "cursor") return startAgain(problem, signal);
      return complain(problem);
    } finally {
      $("browse-list").removeAttribute("aria-busy");
    }
  }
  drawHeading();
  if (place) list.show(place);
  announce(`${$("browse-title").textContent}. ${$("browse-summary").textContent}`);
  return undefined;
}

function drop() {
  list?.end();
  list = beyond = null;
  isOld = false;
  $("browse-more").hidden = true;
}

/** The gallery was made anew since, and its places are gone. */
async function startAgain(problem, signal) {
  history.replaceState({ ...history.state, place: undefined }, "");
  drop();
  await showBrowse(asked, signal, false);
  announce(t("browse.anew"));
}

const lost = (problem) => (problem.field === "cursor" ? startAgain(problem, new AbortController().signal) : complain(problem));

function drawHeading() {
  const { label, where, sort } = asked;
  const title = label ? readable(label) : t("browse.all");
  $("browse-title").textContent = title;
  entitle(title);
  const orders = ordersOf(gallery.columns);
  if (!orders.some(([value]) => value === sort)) orders.push([sort, readable(sort)]);
  $("browse-sort").replaceChildren(...orders.map(([value, text]) => new Option(text, value, false, value === sort)));
  $("browse-where").hidden = !where;
  $("browse-where").firstElementChild.textContent = t("browse.where", { where });
  $("browse-all").href = browseAddress({ sort, label });
  if (!list) {
    $("browse-summary").textContent = t("looking");
    return;
  }
  const total = list.total();
  $("browse-more").hidden = !list.more();
  $("browse-order").hidden = total === 0;
  $("browse-summary").textContent = total || label || where ? t("photos", { count: total }) : "";
  const nothing = label || where ? t("browse.nothing") : t("browse.empty");
  $("browse-empty").hidden = total > 0;
  $("browse-empty").firstElementChild.textContent = nothing;
  $("browse-how").hidden = Boolean(label || where);
}

function complain(problem) {
  $("browse-summary").textContent = "";
  tell($("browse-problem-text"), problem);
  $("browse-retry").hidden = !problem.passing;
  $("browse-problem").hidden = false;
  announce(problem.message);
}

/** Scrolled near to its end, the list grows by itself; not while "Show more" is about to be pressed. */
const ending = new IntersectionObserver(
  (seen) => {
    const asks = document.activeElement === $("browse-more") || !$("browse-problem").hidden;
    if (seen.at(-1).isIntersecting && scrollY > 0 && !asks) grow(false);
  },
  { rootMargin: "1200px 0px" },
);

/** The next page; `focus` goes to its first photo. */
async function grow(focus) {
  if (growing || !list?.more()) return;
  growing = true;
  const from = list;
  $("browse-problem").hidden = true;
  try {
    const first = await from.grow();
    if (list !== from || first === null) return;
    drawHeading();
    keepPlace();
    if (focus) reveal((await from.reveal(first)).querySelector("[data-look]"));
  } catch (problem) {
    if (list === from) lost(problem);
  } finally {
    growing = false;
    ending.unobserve($("browse-more"));
    ending.observe($("browse-more")); // and say whether it still is near
  }
}

/** Where left and right of the detail view lead. */
export const browseList = {
  place(id) {
    const number = list?.numberOf(id) ?? -1;
    return number < 0 && beyond ? beyond.place(id) : number;
  },
  /** Have the place of a photo known, if the list has it. */
  async reach(id) {
    if (!list || !id || this.place(id) >= 0) return;
    const [from, part] = [list, partAround((near) => pageOf({ ...asked, around: near, limit: PAGE }))];
    await part.open(id).catch(() => {}); // it is looked at alone
    if (list === from) beyond = part;
  },
  count: () => list?.total() ?? 0,
  total: () => list?.total() ?? 0,
  async at(number) {
    if (number >= list.count() && beyond?.reaches(number)) return beyond.at(number);
    while (number >= list.count() && list.more()) await list.grow();
    const photo = await list.photo(number);
    keepPlace(number, innerHeight / 3);
    return photo?.id;
  },
  async reveal(id) {
    const number = list?.numberOf(id) ?? -1;
    if (number < 0) return;
    try {
      reveal((await list.reveal(number)).querySelector("[data-look]"));
      keepPlace();
    } catch (problem) {
      lost(problem); // its page was taken out, and cannot be had again
    }
  },
};

function keepPlace(number, shift) {
  clearTimeout(pausing);
  if (!list || !browsed() || JSON.stringify(browsed()) !== JSON.stringify(asked)) return;
  history.replaceState({ ...history.state, place: list.place(number, shift) }, "");
}

onChanged(() => (isOld = true));
addEventListener("scroll", () => {
  clearTimeout(pausing);
  if (list && !$("browse").hidden && !$("detail").open) pausing = setTimeout(keepPlace, PAUSE_MS);
}, { passive: true });
document.addEventListener("click", () => !$("browse").hidden && !$("detail").open && keepPlace(), true); // it may lead away
$("browse-more").addEventListener("click", () => grow(true));
ending.observe($("browse-more"));
$("browse-retry").addEventListener("click", () => (list ? grow(true) : showBrowse(asked, new AbortController().signal, true)));
$("browse-sort").addEventListener("change", () => go(null, browseAddress({ ...asked, sort: $("browse-sort").value }), false));

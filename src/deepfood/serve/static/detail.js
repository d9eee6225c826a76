// The detail view: one photo over the list it was opened from, and left and right through that list.
//
// views.js has its place in the history. Esc, "Close" and the backdrop close the dialog first, and then
// take the step back; a step back by the browser closes it.

import { $, entitle, tell } from "./dom.js";
import { drawOwn, drawPhoto, forgetDrawn } from "./look.js";
import { listed, t } from "./text.js";
import { leavePhoto, photoAddress, titleBehind, turnTo, visitPhoto } from "./views.js";
import { uploads } from "./uploads.js";

const FAR = 50; // pixels that a finger moves sideways for a swipe

const dialog = $("detail");
let shown = null; // {id} or {own}
let list = null; // where left and right lead: {place(id), at(number), count(), total(), reveal(id)}
let touched = null;

export const detailIsOpen = () => shown !== null;

/** Show {id} or {own}; `focus` also reads its name out. */
export function openDetail(asked, behind, focus) {
  if (asked.own && !uploads.has(asked.own)) {
    closeDetail(false); // this tab no longer has it
    return;
  }
  const same = shown && shown.id === asked.id && shown.own === asked.own;
  [shown, list] = [asked, behind];
  if (!dialog.open) {
    dialog.showModal();
    focus = true;
  }
  if (!same) draw();
  drawPlace();
  if (focus) $("detail-name").focus();
}

/** What lies behind has been drawn, and has said its own title. */
export async function overDrawn() {
  if (!shown) return;
  drawTitle();
  drawPlace();
  const from = shown;
  await list.reach?.(shown.id);
  if (shown === from) drawPlace();
}

/** Close it; `stays`: what lies behind is as it was, and gets its title and the focus. */
export function closeDetail(stays) {
  if (!shown) return;
  const { id } = shown;
  shown = null;
  forgetDrawn();
  if (dialog.open) dialog.close();
  if (!stays) return;
  document.title = titleBehind();
  if (id) list.reveal(id);
}

function draw() {
  $("detail-status").textContent = "";
  if (shown.own) drawOwn(shown.own, drawTitle);
  else drawPhoto(shown.id, drawTitle);
  drawTitle();
  dialog.firstElementChild.scrollTop = 0;
}

function drawTitle() {
  entitle($("detail-name").textContent);
}

/** "3 of 42", and which ways there are from here. */
function drawPlace() {
  const place = shown.id ? list.place(shown.id) : -1;
  const alone = place < 0;
  $("detail-place").textContent = alone ? "" : t("detail.place", { place: place + 1, total: list.total() });
  for (const [id, next] of [["detail-before", place - 1], ["detail-after", place + 1]]) {
    $(id).hidden = alone;
    const ends = next < 0 || next >= list.count();
    $(id).setAttribute("aria-disabled", String(ends)); // and keeps the focus, which `disabled` would lose
  }
}

/** Which way through the list right is: back in a page that is read from right to left. */
const rightwards = () => (getComputedStyle(dialog).direction === "rtl" ? -1 : 1);

/** One on in the list (1) or back (-1). */
async function turn(by) {
  const place = shown?.id ? list.place(shown.id) : -1;
  if (place < 0 || place + by < 0 || place + by >= list.count()) return;
  const from = shown;
  let id;
  try {
    id = await list.at(place + by);
  } catch (problem) {
    tell($("detail-status"), problem);
    return;
  }
  if (!id || shown !== from) return; // turned or closed meanwhile
  turnTo(id);
  shown = { id };
  draw();
  drawPlace();
  $("detail-status").textContent = listed([$("detail-name").textContent, $("detail-place").textContent]);
}

/** The photos of the cards in a part of the page, as the list that left and right lead through. */
export function cardsIn(part) {
  const links = () => {
    const seen = new Map(); // a photo that is there twice counts once
    for (const link of part.querySelectorAll("[data-look]")) {
      if (!seen.has(link.dataset.look) && link.checkVisibility()) seen.set(link.dataset.look, link);
    }
    return [...seen.values()];
  };
  return {
    place: (id) => links().findIndex((link) => link.dataset.look === id),
    at: (place) => links()[place]?.dataset.look,
    count: () => links().length,
    total: () => links().length,
    reveal: (id) => reveal(links().find((link) => link.dataset.look === id)),
  };
}

/** Give a card's link the focus, and scroll as little as is needed to see it. */
export function reveal(link) {
  if (!link) return;
  link.focus({ preventScroll: true });
  link.scrollIntoView({ block: "nearest" });
}

/** A plain click on a link to a photo's detail view, anywhere on the page, opens it here. */
document.addEventListener("click", (event) => {
  const link = event.target.closest?.("[data-look]");
  if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  visitPhoto({ id: link.dataset.look });
});

/** Make a link lead to a photo's detail view, over what is on the page. */
export function leadTo(link, photo) {
  link.href = photoAddress(photo.id);
  link.dataset.look = photo.id;
}

$("detail-before").addEventListener("click", () => turn(-1));
$("detail-after").addEventListener("click", () => turn(1));
for (const id of ["detail-close", "detail-back"]) $(id).addEventListener("click", () => dialog.close());
dialog.addEventListener("close", () => {
  if (shown && !dialog.open) leavePhoto();
});
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close();
});
dialog.addEventListener("keydown", (event) => {
  const ways = { ArrowLeft: -1, ArrowRight: 1 };
  if (!(event.key in ways) || event.altKey || event.ctrlKey || event.metaKey || event.target.matches(":is(input, select, textarea)")) return;
  event.preventDefault();
  turn(ways[event.key] * rightwards());
});

// A swipe; not while the visitor has zoomed in, and moves about in the photo.
$("detail-stage").addEventListener("touchstart", (event) => {
  const [{ clientX, clientY }] = event.touches;
  touched = event.touches.length === 1 && visualViewport.scale < 1.05 ? { clientX, clientY } : null;
}, { passive: true });
$("detail-stage").addEventListener("touchend", (event) => {
  if (!touched) return;
  const [{ clientX, clientY }] = event.changedTouches;
  const [along, across] = [clientX - touched.clientX, clientY - touched.clientY];
  touched = null;
  if (Math.abs(along) < FAR || Math.abs(along) < 2 * Math.abs(across)) return;
  turn((along < 0 ? 1 : -1) * rightwards());
});

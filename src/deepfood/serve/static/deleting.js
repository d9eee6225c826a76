// Delete photos, with undo: a photo goes from the page at once, and from the gallery when the time to undo
// it is over. Until then nothing is sent, so undoing loses nothing, and whatever happens to this tab, the
// photo is there.

import { readPhoto, removePhoto } from "./changes.js";
import { $, announce, element } from "./dom.js";
import { changed, nameOf, photos } from "./gallery.js";
import { hide, showAgain } from "./gone.js";
import { styled } from "./styled.js";
import { t } from "./text.js";

const TICK_MS = 250;
const TICKS = 60; // 15 seconds

const pending = new Map(); // id -> {photo, etag, left, item}

/** Delete a photo as it is now; `focus()` finds what has the focus then, or else "Undo". */
export function remove(photo, focus = () => null) {
  const { id } = photo;
  if (pending.has(id)) return;
  styled("css/undo.css");
  const one = { photo, etag: null, left: TICKS };
  one.item = line(t("deleting.done", { name: nameOf(photo) }), t("deleting.undo"), () => undo(one));
  one.item.setAttribute("aria-busy", "true"); // until it is known what is deleted
  one.read = readPhoto(id).then(({ etag }) => (one.etag = etag));
  one.read.catch(() => {}).then(() => one.item.removeAttribute("aria-busy")); // a problem is said later
  pending.set(id, one);
  hide(id);
  announce(t("deleting.undoable", { name: nameOf(photo) }));
  (focus() ?? one.item.querySelector("button")).focus();
}

/** A line at the lower edge of the page, with something to do. */
function line(text, does, act) {
  const [item, said, button] = [element("li", ""), element("span", text), element("button", does)];
  said.dir = "auto";
  Object.assign(button, { type: "button", className: "button quiet small" });
  button.addEventListener("click", act);
  item.append(said, button);
  $("undo-list").append(item);
  $("undo").hidden = false;
  return item;
}

function drop(item) {
  const had = item.contains(document.activeElement);
  item.remove();
  $("undo").hidden = !$("undo-list").children.length;
  if (had) ($("undo-list").querySelector("button") ?? $("main")).focus();
}

function undo(one) {
  const { id } = one.photo;
  pending.delete(id);
  showAgain(id);
  drop(one.item);
  announce(t("deleting.undone", { name: nameOf(one.photo) }));
  document.querySelector(`main [data-look="${CSS.escape(id)}"]`)?.focus();
}

/** Delete it from the gallery. */
async function send(one) {
  const { photo, item } = one;
  const { id } = photo;
  pending.delete(id);
  drop(item);
  try {
    if (!one.etag) await one.read;
    await removePhoto(id, one.etag);
  } catch (problem) {
    if (problem.status !== 404) return fail(photo, problem); // somebody else has deleted it
  }
  photos.delete(id);
  changed();
}

function fail(photo, problem) {
  showAgain(photo.id);
  const name = nameOf(photo);
  const text = problem.status === 412 ? t("deleting.changed", { name }) : t("deleting.failed", { name, why: problem.message });
  const item = line(text, t("deleting.close"), () => drop(item));
  announce(text);
}

/** Time stands still while a visitor may be about to undo, and where "Undo" cannot be reached. */
const waits = () =>
  Boolean(document.querySelector("dialog[open]")) || $("undo").matches(":has(:focus-visible)") || $("undo").matches(".pointed");

setInterval(() => {
  if (!pending.size || waits()) return;
  for (const one of [...pending.values()]) if (--one.left <= 0) send(one);
}, TICK_MS);
$("undo").addEventListener("pointerenter", ({ pointerType }) => $("undo").classList.toggle("pointed", pointerType === "mouse"));
$("undo").addEventListener("pointerleave", () => $("undo").classList.remove("pointed"));
// What a page sends while it is left may never arrive: so the visitor decides whether to wait, and else the photo stays.
addEventListener("beforeunload", (event) => pending.size && event.preventDefault());

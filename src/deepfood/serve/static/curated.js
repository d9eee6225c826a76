// A list of what may be wrong in the gallery, page by page: doubtful.js and others make items of it.
//
// The server compares all photos for it, which may take a while: until then the page asks again.

import { ask } from "./ask.js";
import { $, announce, tell } from "./dom.js";
import { isKept, showKept } from "./reviewed.js";
import { parts, t } from "./text.js";

const LIMIT = 20;
const AGAIN_MS = 3000;

let shown = null; // {kind, next, count, left, signal}

/** Draw the list of a `kind`: {address, entries(page), key(entry), item(entry), said(total), none(), note(code)}. */
export function showCurated(kind, signal) {
  shown = { kind, next: null, left: 0, signal };
  $("curated-list").replaceChildren();
  $("curated-more").hidden = $("curated-kept").hidden = $("curated-problem").hidden = true;
  $("curated-said").textContent = t("looking");
  return load(shown, false);
}

async function load(list, focus) {
  const { kind, next, signal } = list;
  const isOver = () => shown !== list || signal.aborted || $("look-after").hidden;
  $("curated-problem").hidden = true;
  try {
    const said = new URLSearchParams({ limit: LIMIT, ...(next && { cursor: next }) });
    const page = await ask(`${kind.address}?${said}`, { signal });
    if (!isOver()) draw(list, page, focus);
  } catch (problem) {
    if (isOver()) return;
    if (problem.status === 503) {
      $("curated-said").textContent = t("curated.comparing");
      announce(t("curated.comparing"));
      setTimeout(() => isOver() || load(list, focus), AGAIN_MS);
    } else {
      $("curated-said").textContent = "";
      tell($("curated-problem-text"), problem);
      $("curated-problem").hidden = false;
    }
  }
}

function draw(list, page, focus) {
  const { kind } = list;
  const all = kind.entries(page);
  const wanted = all.filter((entry) => !isKept(kind.key(entry)));
  const items = wanted.map(kind.item);
  list.next = page.next;
  list.left += all.length - wanted.length;
  $("curated-list").append(...items);
  $("curated-more").hidden = !page.next;
  $("curated-said").textContent = page.total ? kind.said(page.total) : kind.none();
  const notes = page.notes.map(({ message }) => parts("note.other", { message: message.charAt(0).toUpperCase() + message.slice(1) }));
  $("curated-notes").replaceChildren(...notes.flatMap((one) => [...one, " "]));
  $("curated-kept").hidden = !list.left;
  $("curated-kept-said").textContent = t("curated.kept", { count: list.left });
  if (focus) items[0]?.querySelector("a")?.focus();
  else announce(`${$("look-after-title").textContent}. ${$("curated-said").textContent}`);
}

$("curated-more").addEventListener("click", () => load(shown, true));
$("curated-retry").addEventListener("click", () => load(shown, true));
$("curated-kept-show").addEventListener("click", () => {
  showKept();
  showCurated(shown.kind, shown.signal);
  $("look-after-title").focus();
});

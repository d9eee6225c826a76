// The marks on what was found: more like this, less like this. They wait in the tray until they are
// searched with. The visit that they were searched from keeps them, in history.state: `marks`.

import { $, announce, element } from "./dom.js";
import { nameOf } from "./gallery.js";
import { keep, restored } from "./stored.js";
import { t } from "./text.js";
import { fillPart, trayItem } from "./tray.js";
import { askedExamples } from "./visits.js";

const KEY = "deepfood.marks";
const SAYS = { more: t("card.more"), less: t("card.less") };

let marked = restored(KEY); // {id} or {id, unlike}, as a search has them

/** Put the marks of a photo into a place. */
export function drawMarks(place, photo) {
  place.append(...Object.keys(SAYS).map((kind) => mark(kind, photo)));
  showMarks(place);
}

function mark(kind, photo) {
  const button = $("mark").content.cloneNode(true).firstElementChild;
  button.classList.add(kind);
  button.title = SAYS[kind];
  button.append(element("span", t("card.mark", { mark: SAYS[kind], name: nameOf(photo) })));
  button.lastElementChild.className = "unseen";
  Object.assign(button.dataset, { id: photo.id, mark: kind });
  return button;
}

const kindOf = ({ unlike }) => (unlike ? "less" : "more");
const has = ({ id, mark: kind }) => marked.some((one) => one.id === id && kindOf(one) === kind);

/** Have the buttons in a part of the page say which are pressed. */
function showMarks(part = document) {
  for (const button of part.querySelectorAll(".mark")) {
    button.setAttribute("aria-pressed", String(has(button.dataset)));
  }
}

function set(marks) {
  marked = marks;
  keep(KEY, marked);
  showMarks();
  showTray();
}

const keepHere = (marks) => history.replaceState({ ...history.state, marks }, "");

/** Back where they were searched from, the marks wait again; what is searched with does not. */
function restore() {
  const here = history.state?.marks ?? [];
  const asked = askedExamples().map(({ id }) => id);
  const others = marked.filter(({ id }) => !here.some((one) => one.id === id));
  const marks = [...here, ...others].filter(({ id }) => !asked.includes(id));
  if (JSON.stringify(marks) !== JSON.stringify(marked)) set(marks);
}

function showTray() {
  fillPart($("tray-marks"), $("tray-marked"), marked.map(item));
}

function item(one) {
  const made = trayItem(one.id, (name) =>
    one.unlike ? t("marks.back-less", { name }) : t("marks.back-more", { name }),
  );
  made.className = kindOf(one);
  made.firstElementChild.dataset.unmark = one.id;
  made.firstElementChild.append($("mark").content.querySelector("svg").cloneNode(true));
  return made;
}

/** `fits` answers whether a question takes so many more photos, or says why not; `search` gets them all
 *  when the visitor asks. */
export function onMarked(fits, search) {
  document.addEventListener("click", (event) => {
    const button = event.target.closest?.(".mark, [data-unmark]");
    if (!button) return;
    const { id, unmark, mark: kind } = button.dataset;
    const others = marked.filter((one) => one.id !== (id ?? unmark));
    const isNew = kind && !has(button.dataset);
    const marks = isNew ? [...others, { id, ...(kind === "less" && { unlike: true }) }] : others;
    if (isNew && !fits(marks)) return;
    set(marks);
    if (history.state?.marks) keepHere(marks);
    announce(t("marks.said", { count: marks.length }));
  });
  $("tray-search").addEventListener("click", () => {
    const marks = marked;
    keepHere(marks);
    set([]);
    search(marks);
  });
  $("tray-clear").addEventListener("click", () => {
    set([]);
    if (history.state?.marks) keepHere([]);
  });
  addEventListener("popstate", restore);
  showTray();
}

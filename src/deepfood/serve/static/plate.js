// A plate: boxes on the photo, and a row of results for each dish.
//
// app.js imports it when a plate is first asked for. A dish is a part of the answer, {box, verdict,
// in_gallery, label, hits}. Where the visitor has refined its box, `found` is the part as it was found: the
// answer is kept as long as the tab, so that back and forward show what was refined, and a reload what was
// found.

import { drawNotes } from "./answer.js";
import { card } from "./cards.js";
import { $, announce, element, tell } from "./dom.js";
import { leadOf } from "./examples.js";
import { photos, readable } from "./gallery.js";
import { showPart } from "./part.js";
import { drawBoxes, drawCrop, focusBox, pressBox, showBoxes } from "./plate-boxes.js";
import { OF_A_DISH, dishesOf, findAnswer } from "./search.js";
import { styled } from "./styled.js";
import { allOf, alone, listed, number, percent, t } from "./text.js";
import { isSlow } from "./uploads.js";
import { address } from "./visits.js";

const image = $("query-photo");
const frame = image.parentElement;

let shown = { dishes: [] }; // {search, dishes, signal}: what is on the page
let refined = -1; // the place of the dish whose box is refined
let asking = new AbortController();

/** Have the style sheet of a plate: before the first is drawn. */
export const havePlateStyle = () => styled("css/plate.css");

/** Draw the boxes and rows of an answer that has dishes. */
export function drawPlate(search, answer, signal) {
  shown = { search, dishes: dishesOf(answer), signal };
  refined = -1;
  $("hits").removeAttribute("aria-busy");
  $("hits").replaceChildren();
  $("plate").replaceChildren(...shown.dishes.map(() => $("plate-row").content.cloneNode(true).firstElementChild));
  shown.dishes.forEach((_, at) => drawRow(at));
  redrawBoxes();
  const found = t("plate.found", { count: shown.dishes.length });
  const dishes = allOf(shown.dishes.map((one, at) => alone(inList(one, at))));
  $("summary").textContent = t("plate.said", { found, dishes });
  drawNotes(answer.notes);
  announce([$("summary").textContent, $("notes").textContent.trim()].filter(Boolean).join(" "));
  signal.addEventListener("abort", endRefining, { once: true }); // another search has the page
  sharpen(search, signal);
}

const redrawBoxes = () => drawBoxes(shown.dishes.map(saidOf), (at) => choose(at, rowOf(at).querySelector(".crop")));
const rowOf = (at) => $("plate").children[at];

/** What a dish is called, as surely as the gallery knows. */
function titleOf({ verdict, label }, at) {
  if (!label || verdict === "none") return t("plate.dish", { number: at + 1 });
  return verdict === "match" ? readable(label.label) : t("plate.perhaps", { dish: readable(label.label) });
}

/** The same within a sentence. */
function inList(dish, at) {
  return dish.verdict === "maybe" && dish.label ? t("plate.maybe", { dish: readable(dish.label.label) }) : titleOf(dish, at);
}

function surenessOf({ verdict, label }) {
  if (verdict === "none") return t("plate.lacks");
  return label ? t("plate.sure", { percent: percent(label.probability) }) : "";
}

function saidOf(dish, at) {
  const [title, sure] = [titleOf(dish, at), surenessOf(dish)];
  const says = { number: number(at + 1), whole: t("plate.box", { number: at + 1, dish: listed([title, sure].filter(Boolean)) }) };
  return { box: dish.box, title, sure, says };
}

function drawRow(at) {
  const [row, dish] = [rowOf(at), shown.dishes[at]];
  const { title, sure, says } = saidOf(dish, at);
  const [crop, refine, all] = row.querySelectorAll(".crop, .button");
  row.dataset.box = dish.box;
  row.querySelector("h2").textContent = title;
  row.querySelector(".sure").textContent = sure;
  crop.querySelector("b").textContent = says.number;
  crop.setAttribute("aria-label", t("plate.on-photo", { dish: says.whole }));
  crop.onclick = () => choose(at);
  drawCrop(crop.firstElementChild, dish.box);
  for (const one of [refine, all]) one.lastElementChild.textContent = ` ${says.whole}`;
  refine.onclick = () => (refined === at ? endRefining() : refineBox(at));
  all.href = address(searchOf(dish.box));
  row.lastElementChild.replaceChildren(...dish.hits.map((hit, place) => card(hit, place, shown.search)));
}

/** The search with a part of the photo alone. */
function searchOf(box) {
  const { plate: _, ...search } = shown.search;
  return { ...search, examples: search.examples.map((one) => ({ ...one, box })) };
}

/** Show which box and which row belong together, and go to `target`: in the row; to the box without one. */
function choose(at, target) {
  endRefining();
  mark(at);
  if (!target) return focusBox(at);
  target.focus({ preventScroll: true });
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  rowOf(at).scrollIntoView({ block: "start", behavior: calm ? "auto" : "smooth" });
}

function mark(at) {
  pressBox(at);
  [...$("plate").children].forEach((row, place) => row.classList.toggle("chosen", place === at));
}

// ----------------------------------------------------------------------------- a box by hand

/** Have the visitor draw a dish's box, as the part that counts is drawn (part.js). */
function refineBox(at) {
  endRefining();
  refined = at;
  mark(at);
  showBoxes(false);
  $("query").classList.add("choosing");
  const done = tool(t("part.done"), () => {
    endRefining();
    rowOf(at).querySelector(".actions button").focus();
  });
  const asFound = tool(t("plate.as-found"), () => putBack(at));
  $("part-tools").append(done, asFound);
  rowOf(at).querySelector(".actions button").setAttribute("aria-pressed", "true");
  drawTool();
  image.scrollIntoView({ block: "nearest" });
  $("query-seen").focus({ preventScroll: true });
}

function tool(text, act) {
  const button = element("button", text);
  button.type = "button";
  button.className = "button quiet small of-plate-tool";
  button.addEventListener("click", act);
  return button;
}

function drawTool() {
  const [dish, at] = [shown.dishes[refined], refined];
  showPart({ ...leadOf(shown.search), box: dish.box }, (_, box) => searchPart(at, box));
  $("part-tools").lastElementChild.disabled = !dish.found;
}

function endRefining() {
  if (refined < 0) return;
  rowOf(refined)?.querySelector(".actions button").setAttribute("aria-pressed", "false");
  refined = -1;
  for (const one of document.querySelectorAll(".of-plate-tool")) one.remove();
  $("query").classList.remove("choosing");
  if (shown.signal.aborted) return; // what is drawn is another's
  showPart(null);
  redrawBoxes();
  pressBox([...$("plate").children].findIndex((row) => row.classList.contains("chosen")));
}

/** Search with a dish's box as the visitor has drawn it, and show what is found in its row. */
async function searchPart(at, box) {
  asking.abort();
  asking = new AbortController();
  const signal = AbortSignal.any([asking.signal, shown.signal]);
  const [row, dish] = [rowOf(at), shown.dishes[at]];
  const fault = row.querySelector(".fault");
  row.setAttribute("aria-busy", "true");
  fault.hidden = true;
  try {
    const { verdict, in_gallery, label, hits } = await findAnswer({ ...searchOf(box), k: OF_A_DISH }, signal);
    if (signal.aborted) return;
    const { found, ...before } = dish;
    Object.assign(dish, { found: found ?? before, box, verdict, in_gallery, label, hits: hits.slice(0, OF_A_DISH) });
    changed(at);
  } catch (problem) {
    if (signal.aborted) return;
    tell(fault, problem);
    fault.hidden = false;
    if (refined === at) drawTool(); // with the box of what is shown
  }
  row.removeAttribute("aria-busy");
}

/** Show a dish as it was found. */
function putBack(at) {
  asking.abort();
  const { found } = shown.dishes[at];
  delete shown.dishes[at].found;
  Object.assign(shown.dishes[at], found);
  rowOf(at).removeAttribute("aria-busy");
  $("query-seen").focus({ preventScroll: true }); // the button cannot be pressed any more
  changed(at);
}

function changed(at) {
  drawRow(at);
  if (refined === at) drawTool();
  else if (refined < 0) redrawBoxes();
  announce(saidOf(shown.dishes[at], at).says.whole);
}

// ----------------------------------------------------------------------------- the photo, large

/** Have the photo itself, which is larger than the picture on cards, where that costs little. */
function sharpen({ examples: [{ id }] }, signal) {
  if (!id || isSlow() || !photos.has(id)) return;
  const whole = new Image();
  whole.src = `photos/${id}`;
  whole.decode().then(() => {
    if (!signal.aborted) image.src = whole.src;
  }, () => {}); // the browser cannot show it: the small one stays
}

image.addEventListener("load", shaped);

/** Give the frame the shape of the photo, and the rows their crops. */
function shaped() {
  if (!image.naturalWidth) return;
  frame.style.setProperty("--shape", image.naturalWidth / image.naturalHeight);
  if ($("answer").classList.contains("of-plate")) {
    [...$("plate").children].forEach((row, at) => drawCrop(row.querySelector("canvas"), shown.dishes[at].box));
  }
}

if (image.complete) shaped();

// The facets: labels and attributes with counts, which write the filter (docs/filters.md).
//
// The rail knows nothing of the view that it stands in: it is shown for a filter, and says what the
// filter should become. Of each facet, counts are those under the rest of the filter: what a choice
// would bring. On a small screen the rail lies in a sheet, which a button opens.

import { ask } from "./ask.js";
import { $, element } from "./dom.js";
import { drawFacet, isOffered } from "./facet.js";
import { conditionsOf, joined, readCondition, writeCondition } from "./filter.js";
import { heading, inWords } from "./facts.js";
import { onChanged, readable } from "./gallery.js";
import { number, oneOf, t } from "./text.js";

const LISTED = 200; // values of a facet, as far as the page knows them
const WIDE = matchMedia("(min-width: 56rem)");

const [panel, sheet] = [$("facets"), $("facets-sheet")];
const views = new Map(); // name -> the facet as it is drawn
let whole = null; // a promise of the facets of all photos: which are offered, in which order
let asking = new AbortController();
let places = null; // {rail, opener}: elements of the view, and the {label} that it is about, if any
let shown = ""; // the filter that the view has
let wanted = ""; // the one that was asked for last
let asked = () => {};

/** The facets of the photos that pass a filter and have a label, as GET /api/v1/facets has them. */
function facetsOf(where, label, signal) {
  const said = new URLSearchParams({ limit: LISTED, ...(where && { where }), ...(label && { label }) });
  return ask(`api/v1/facets?${said}`, { signal });
}

onChanged(() => (whole = null));

/** Those of all photos, which are asked for once. */
export function everyFacet() {
  whole ??= facetsOf().catch((problem) => {
    whole = null; // the next visit asks again
    throw problem;
  });
  return whole;
}

/** Show the facets under a filter: in `rail`, or behind the button `opener`; of the photos of a label
 *  where the view has one, which lists labels itself: {label}, "" for all. `ask` gets the filter that
 *  the visitor asks for, and may answer a promise of having asked. */
export async function showFacets(view, where, ask) {
  const { rail, opener, label } = view;
  [places, shown, wanted, asked] = [view, where, where, ask];
  asking.abort();
  asking = new AbortController();
  const { signal } = asking;
  place();
  drawChosen();
  try {
    const every = (await everyFacet()).facets.filter(isOffered);
    const offered = every.filter(({ name }) => name !== "label" || label === undefined);
    const counts = await countsOf(offered, where, signal);
    if (signal.aborted) return;
    for (const facet of offered) draw(facet, counts);
    for (const [name, { element }] of views) element.hidden ||= !offered.some((one) => one.name === name);
    sayTotal(counts.full);
    rail.hidden = opener.hidden = !offered.length && !where;
  } catch {
    // Without counts there is nothing to choose from; the filter itself goes on working.
    if (!signal.aborted) rail.hidden = opener.hidden = !where && !views.size;
  }
}

/** The conditions of the filter; those that the facets can set have a name. */
const conditions = () => conditionsOf(wanted).map((text) => ({ text, ...readCondition(text) }));

/** {full, own}: the facets under the filter, and of each name that it has under the rest of it. */
async function countsOf(offered, where, signal) {
  const names = new Set(conditions().map(({ name }) => name));
  const touched = offered.map(({ name }) => name).filter((name) => names.has(name));
  const rest = (name) => joined(conditions().filter((one) => one.name !== name).map(({ text }) => text));
  const [full, ...others] = await Promise.all(
    [where, ...touched.map(rest)].map((one) => (one || places.label ? facetsOf(one, places.label, signal) : everyFacet())),
  );
  return { full, own: new Map(touched.map((name, at) => [name, others[at]])) };
}

function draw(facet, { full, own }) {
  const { name } = facet;
  if (!views.has(name)) {
    views.set(name, drawFacet(facet, (chosen) => change(name, chosen), views.size));
    $("facets-list").append(views.get(name).element);
  }
  const named = ({ facets }) => facets.find((one) => one.name === name);
  views.get(name).update({
    chosen: conditions().filter((one) => one.name === name),
    under: named(full) ?? facet,
    rest: named(own.get(name) ?? full) ?? facet,
    total: full.total,
  });
}

/** Set the conditions of one facet. */
function change(name, chosen) {
  const others = conditions().filter((one) => one.name !== name);
  wantWith([...others.map(({ text }) => text), ...chosen.map(writeCondition)]);
}

async function wantWith(texts) {
  const mine = joined(texts);
  wanted = mine;
  await asked(mine);
  if (wanted === mine && shown !== mine) showFacets(places, shown, asked); // it was refused
}

/** The conditions as buttons that take them away. */
function drawChosen() {
  const list = $("facets-chosen");
  const had = list.contains(document.activeElement);
  const all = conditions();
  const items = all.map((one, at) => item(says(one), t("facets.remove", { condition: says(one) }), () => {
    wantWith(all.filter((_, place) => place !== at).map(({ text }) => text));
  }));
  if (all.length > 1) items.push(item(t("facets.clear"), "", () => wantWith([])));
  list.replaceChildren(...items);
  list.hidden = !all.length;
  if (had) (list.querySelector("button") ?? $("facets-title")).focus();
  places.opener.textContent = all.length ? t("facets.some", { count: all.length }) : t("facets");
}

function item(text, label, action) {
  const [made, button] = [element("li", ""), element("button", text)];
  button.type = "button";
  button.dir = "auto";
  button.className = label ? "taken" : "taken all";
  if (label) button.setAttribute("aria-label", label);
  button.addEventListener("click", action);
  made.append(button);
  return made;
}

/** A condition in words. */
function says({ text, name: column, is, value, values }) {
  const name = heading(column);
  if (is === "among") {
    const said = values.map((one) => (typeof one === "string" ? readable(one) : inWords(one)));
    return t("condition", { name, values: oneOf(said) });
  }
  if (is === "has") return t("condition", { name, values: value });
  if (is === "without") return t("condition.without", { value });
  if (is === ">=") return t("condition.from", { name, value });
  return is === "<=" ? t("condition.to", { name, value }) : text;
}

function sayTotal({ total, counted }) {
  const sentences = [t("facets.note"), counted < total && t("facets.part", { counted: number(counted) })];
  $("facets-note").textContent = sentences.filter(Boolean).join(" ");
  $("facets-total").textContent = t("facets.total", { count: total });
  if (sheet.open) $("facets-status").textContent = t("facets.passing", { count: total });
}

// ----------------------------------------------------------------------------- rail or sheet

function place() {
  const home = sheet.open ? $("facets-body") : places.rail;
  if (panel.parentElement !== home) home.prepend(panel);
  places.opener.onclick = openSheet;
}

function openSheet() {
  $("facets-body").prepend(panel);
  $("facets-status").textContent = "";
  sheet.showModal();
  $("facets-title").focus();
}

sheet.addEventListener("close", () => places.rail.prepend(panel));
$("facets-done").addEventListener("click", () => sheet.close());
sheet.addEventListener("click", (event) => event.target === sheet && sheet.close()); // the backdrop
WIDE.addEventListener("change", () => sheet.close());
addEventListener("popstate", () => sheet.close());

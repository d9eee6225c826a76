// One facet: the values of an attribute as boxes to tick, or a number from and to.
//
// `update` gets {chosen, under, rest, total}: the conditions of this facet, the facet under the whole
// filter and under the rest of it, and how many photos pass the filter.

import { ask } from "./ask.js";
import { element } from "./dom.js";
import { heading, inWords } from "./facts.js";
import { same } from "./filter.js";
import { readable } from "./gallery.js";
import { drawRange } from "./range.js";
import { number, parts, t } from "./text.js";

const SHOWN = 8; // values before "Show all"
const MANY = 12; // from so many on, they can be looked for
const OPEN = 3; // facets that are open at first
const OTHER_NAMES = "also"; // what words are found in, and too many to choose from
const WANTED_SETS = ["diet"]; // safety sets that are asked for; others are kept out, as allergens

/** Whether a facet is one to choose from. Addresses are links. */
export function isOffered({ name, type, known, values, bins }) {
  if (!known || name === OTHER_NAMES) return false;
  if (type === "number") return bins.length > 1;
  return !values.every(({ value }) => /^https?:/.test(value));
}

/** Whether each photo has a text of its own: these are not listed, and can be looked for. */
const isOwn = ({ type, distinct, values }) => type === "text" && distinct > 2 && values[0].count === 1;

/** What choosing a value of a facet asks for. */
function choiceOf({ type, name, safety }) {
  if (type === "list") return safety && !WANTED_SETS.includes(name) ? "without" : "has";
  return "among";
}

/** {element, update}; `change` gets the conditions that this facet should have. */
export function drawFacet(facet, change, place) {
  const { name, type, safety } = facet;
  const is = choiceOf(facet);
  const [box, title, unknown] = ["details", "summary", "p"].map((tag) => element(tag, ""));
  box.className = "facet";
  box.dataset.name = name;
  box.open = place < OPEN && !isOwn(facet);
  const called = element("bdi", heading(name));
  title.append(...(is === "without" ? parts("facet.without", { name: called }) : [called]));
  unknown.className = "hides";
  const inside = type === "number" ? drawRange(facet, change) : drawValues(facet, is, change);
  box.append(title, inside.element, unknown);
  function update(state) {
    const { chosen, rest } = state;
    if (chosen.length) box.open = true;
    inside.update(state);
    box.hidden = !rest.known && !chosen.length;
    const count = rest.unknown;
    unknown.textContent = chosen.length ? t("facet.hidden", { count }) : t("facet.would-hide", { count });
    unknown.hidden = !rest.unknown || !(safety || chosen.length);
  }
  return { element: box, update };
}

/** The values of a facet that begin as typed, also those that are not listed. */
async function valuesBeyond(name, typed) {
  const said = new URLSearchParams({ q: typed, limit: 50 });
  if (name === "label") return (await ask(`api/v1/labels?${said}`)).labels.map(({ label }) => label);
  const found = await ask(`api/v1/suggest?${said}`);
  return found.filter(({ field }) => field === name).map(({ text }) => text);
}

function drawValues(facet, is, change) {
  const { name } = facet;
  const group = element("div", "");
  const [find, list, all] = [element("input", ""), element("ul", ""), element("button", "")];
  group.setAttribute("role", "group");
  group.setAttribute("aria-label", is === "without" ? t("facet.without-group", { name: heading(name) }) : heading(name));
  find.type = "search";
  find.placeholder = t("facet.find");
  find.setAttribute("aria-label", t("facet.find-in", { name: heading(name) }));
  all.type = "button";
  all.className = "all";
  group.append(find, list, all);
  const boxes = new Map(); // value -> its list item
  let [state, long, further] = [null, false, []];

  function valuesOf({ chosen, rest }) {
    const picked = chosen.flatMap(({ value, values }) => values ?? [value]);
    const listed = rest.values.map(({ value }) => value);
    const lost = picked.filter((value) => !listed.some((one) => same(one, value)));
    return [...lost, ...listed, ...further.filter((one) => !listed.some((other) => same(one, other)))];
  }

  const isChosen = (value) =>
    state.chosen.some((one) => (one.values ?? [one.value]).some((other) => same(other, value)));

  /** How many photos choosing a value leaves; null where that is not known. */
  function countOf(value) {
    const { under, rest, total } = state;
    const count = (among) =>
      among.values.find((one) => same(one.value, value))?.count ??
      (among.values.length < among.distinct ? null : 0);
    if (is === "among") return count(rest);
    if (isChosen(value)) return total;
    if (is === "has") return count(under);
    const with_ = count(under);
    return with_ === null ? null : under.known - with_;
  }

  function toggled(value) {
    const picked = state.chosen.flatMap((one) => one.values ?? [one.value]);
    const next = picked.some((one) => same(one, value))
      ? picked.filter((one) => !same(one, value))
      : [...picked, value];
    if (is === "among") return next.length ? [{ name, is, values: next }] : [];
    return next.map((one) => ({ name, is, value: one }));
  }

  function box(value) {
    const [item, label, input, text, count] = ["li", "label", "input", "span", "span"].map((tag) => element(tag, ""));
    input.type = "checkbox";
    input.addEventListener("change", () => change(toggled(value)));
    text.append(element("bdi", typeof value === "string" ? readable(value) : inWords(value)));
    text.className = "value";
    count.className = "count";
    label.append(input, text, count);
    item.append(label);
    return item;
  }

  function draw() {
    const typed = find.value.trim().toLowerCase();
    const every = valuesOf(state);
    const fit = every.filter((value) => !typed || String(readable(String(value))).toLowerCase().includes(typed));
    const few = isOwn(facet) ? 0 : SHOWN;
    const shown = long || typed ? fit : fit.filter((value, at) => at < few || isChosen(value));
    for (const value of shown) if (!boxes.has(value)) boxes.set(value, box(value));
    const items = shown.map((value) => boxes.get(value));
    const focused = list.contains(document.activeElement) ? document.activeElement : null;
    if (items.length !== list.children.length || items.some((one, at) => one !== list.children[at])) {
      list.replaceChildren(...items);
      if (focused) (focused.isConnected ? focused : find).focus({ preventScroll: true });
    }
    for (const value of shown) {
      const [input, , count] = boxes.get(value).firstElementChild.children;
      const many = countOf(value);
      input.checked = isChosen(value);
      count.textContent = many === null ? "" : number(many);
      boxes.get(value).classList.toggle("none", many === 0 && !input.checked);
    }
    find.hidden = every.length <= MANY && !isOwn(facet);
    all.hidden = Boolean(typed) || every.length <= SHOWN || isOwn(facet);
    all.textContent = long ? t("facet.fewer") : t("facet.all", { count: every.length });
    all.setAttribute("aria-expanded", String(long));
  }

  all.addEventListener("click", () => {
    long = !long;
    draw();
  });
  find.addEventListener("input", async () => {
    draw();
    const typed = find.value;
    if (facet.distinct <= facet.values.length || !typed.trim()) return;
    const found = await valuesBeyond(name, typed).catch(() => []);
    if (find.value !== typed) return; // more was typed meanwhile
    further = found;
    draw();
  });
  return {
    element: group,
    update(now) {
      state = now;
      draw();
    },
  };
}

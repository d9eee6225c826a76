// "Filter and order": which photos an answer may have, and how they are put together.
//
// The form says {where, show}: a filter in the language of docs/filters.md, and one of the values of
// the <select>; both are "" where nothing is asked for. The server judges a filter, not the page.

import { $ } from "./dom.js";

const LONGEST = 40; // characters of an example

/** What each type is called, and a filter that asks for one of its values. */
const TYPES = {
  text: { says: "text", asks: (name, [value]) => `${name} = ${quoted(value)}` },
  number: { says: "number", asks: (name, ends) => `${name} <= ${middle(ends)}` },
  boolean: { says: "true or false", asks: (name) => `${name} = true` },
  list: { says: "list", asks: (name, [value]) => `${name} HAS ${quoted(value)}` },
};

/** Offer the gallery's columns; without any there is nothing to filter by. */
export function offerColumns(columns) {
  $("filter").hidden = columns.length === 0;
  $("refine-title").textContent = columns.length ? "Filter and order" : "Order";
  $("columns").replaceChildren(...columns.map(column));
}

/** Show what is asked for now; the form is open where that is anything. */
export function showRefined({ where, show }) {
  $("where").value = where;
  $("show").value = show;
  $("clear").hidden = !where;
  if (where || show) $("refine").open = true;
  sayFault(null);
}

/** Say below the field what is wrong with the filter, and go there; null: nothing is. */
export function sayFault(problem) {
  const field = $("where");
  $("where-fault").hidden = !problem;
  $("where-fault").textContent = problem?.message ?? "";
  field.toggleAttribute("aria-invalid", Boolean(problem));
  if (!problem) return;
  $("refine").open = true;
  field.focus();
  if (problem.position) {
    const at = Math.min(problem.position - 1, field.value.length);
    field.setSelectionRange(at, field.value.length);
  }
}

/** `asked` gets {where, show} whenever the visitor asks for something else. */
export function onRefined(asked) {
  const ask = () => asked({ where: $("where").value.trim(), show: $("show").value });
  $("refine-form").addEventListener("submit", (event) => {
    event.preventDefault();
    ask();
  });
  $("show").addEventListener("change", ask);
  $("clear").addEventListener("click", () => {
    $("where").value = "";
    $("where").focus();
    ask();
  });
  $("columns").addEventListener("click", (event) => {
    const example = event.target.closest("button");
    if (!example) return;
    const before = $("where").value.trim();
    $("where").value = before ? `${before} AND ${example.textContent}` : example.textContent;
    $("where").focus();
  });
}

function column({ name, type, safety, examples }) {
  const { says, asks } = TYPES[type];
  const [item, example, about] = ["li", "button", "span"].map((tag) => document.createElement(tag));
  const short = examples.filter((value) => String(value).length <= LONGEST);
  const filter = short.length ? asks(name, short) : `${name} IS KNOWN`;
  example.type = "button";
  example.className = "example";
  // What people are allergic to is asked for to be kept out.
  example.textContent = name === "allergens" && short.length ? `NOT ${filter}` : filter;
  const values = type === "number" ? short.join(" to ") : type === "boolean" ? "" : short.join(", ");
  const never = safety ? "; not known is left out" : "";
  about.textContent = `${says}${values ? `: ${values}` : ""}${never}`;
  item.append(example, about);
  return item;
}

const quoted = (text) => `"${text.replace(/["\\]/g, "\\$&")}"`;

/** A round number between the least and the most. */
function middle(ends) {
  const between = (ends[0] + ends.at(-1)) / 2;
  return Number(between.toPrecision(2));
}

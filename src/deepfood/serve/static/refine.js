// "Advanced": the filter as text, and how photos are put together.
//
// The form says {where, show}: a filter in the language of docs/filters.md, and one of the values of
// the <select>; both are "" where nothing is asked for. The server judges a filter, not the page.

import { combobox } from "./combobox.js";
import { completionsOf } from "./completion.js";
import { $, tell } from "./dom.js";

const field = $("where");
let completed = { from: 0 };

const suggestions = combobox(
  field,
  $("where-suggestions"),
  async () => {
    completed = await completionsOf(field.value, field.selectionEnd);
    return completed.options;
  },
  ({ text }) => {
    const end = field.selectionEnd;
    const after = field.value.slice(end).replace(/^\s+/, "");
    const before = `${field.value.slice(0, completed.from)}${text}${text.endsWith("(") ? "" : " "}`;
    field.value = before + after;
    field.setSelectionRange(before.length, before.length);
  },
  { goesOn: true },
);

/** Show what is asked for now; the form is open where another order is. */
export function showRefined({ where, show }) {
  if (document.activeElement !== field || where !== field.value.trim()) field.value = where;
  $("show").value = show;
  $("clear").hidden = !where;
  if (show) $("refine").open = true;
  sayFault(null);
}

/** Say below the field what is wrong with the filter, and go there; null: nothing is. */
export function sayFault(problem) {
  $("where-fault").hidden = !problem;
  tell($("where-fault"), problem ?? { pieces: [] });
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
  const ask = () => asked({ where: field.value.trim(), show: $("show").value });
  $("refine-form").addEventListener("submit", (event) => {
    event.preventDefault();
    if (suggestions.choose()) return;
    suggestions.close();
    ask();
  });
  $("show").addEventListener("change", ask);
  $("clear").addEventListener("click", () => {
    field.value = "";
    field.focus();
    ask();
  });
}

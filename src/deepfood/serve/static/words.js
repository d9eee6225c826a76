// The words box: words alone or together with photos, with suggestions while typing.

import { ask } from "./ask.js";
import { combobox } from "./combobox.js";
import { $ } from "./dom.js";
import { readable } from "./gallery.js";
import { t } from "./text.js";

const SUGGESTED = 8;
const KINDS = { label: t("suggestion.label"), name: t("suggestion.name") };

const input = $("words");
const suggestions = combobox(input, $("suggestions"), suggest, ({ text }) => (input.value = text));

/** What begins as the text in the box; without any, the most frequent labels where they are asked for. */
async function suggest({ typing, signal }) {
  if (typing && !input.value.trim()) return [];
  const said = new URLSearchParams({ q: input.value, limit: SUGGESTED });
  const found = await ask(`api/v1/suggest?${said}`, { signal });
  return found.map(({ text, kind, field, count }) => ({
    text: kind === "label" ? readable(text) : text,
    about: t("suggestion", { kind: KINDS[kind] ?? readable(field), photos: t("photos", { count }) }),
  }));
}

/** Show the words that are searched with. */
export function showWords({ words = "" }) {
  if (document.activeElement !== input || words) input.value = words;
  suggestions.close();
}

/** `asked` gets the words when the visitor asks. */
export function onWords(asked) {
  $("search").addEventListener("submit", (event) => {
    event.preventDefault();
    suggestions.choose();
    suggestions.close();
    asked(input.value.trim());
  });
}

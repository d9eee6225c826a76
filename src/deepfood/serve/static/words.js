// The words box: words alone or together with photos, with suggestions while typing.
//
// The box is a combobox (WAI-ARIA Authoring Practices, list autocomplete with manual selection): the
// focus stays in the input, and `aria-activedescendant` names the suggestion that Enter would take.

import { ask } from "./ask.js";
import { $, element } from "./dom.js";
import { readable } from "./gallery.js";
import { t } from "./text.js";

const PAUSE_MS = 120; // in the typing, before suggestions are asked for
const SUGGESTED = 8;
const KINDS = { label: t("suggestion.label"), name: t("suggestion.name") };

const [input, list] = [$("words"), $("suggestions")];
let waiting = 0;
let asking = new AbortController();
let active = -1; // which suggestion Enter takes; -1: what is typed

/** Show the words that are searched with. */
export function showWords({ words = "" }) {
  if (document.activeElement !== input || words) input.value = words;
  close();
}

/** `asked` gets the words when the visitor asks. */
export function onWords(asked) {
  $("search").addEventListener("submit", (event) => {
    event.preventDefault();
    if (active >= 0) take(list.children[active]);
    close();
    asked(input.value.trim());
  });
  list.addEventListener("click", (event) => {
    const option = event.target.closest("[role=option]");
    if (!option) return;
    take(option);
    close();
    asked(input.value.trim());
  });
}

input.addEventListener("input", () => {
  clearTimeout(waiting);
  if (input.value.trim()) waiting = setTimeout(suggest, PAUSE_MS);
  else close();
});
input.addEventListener("blur", close);
list.addEventListener("pointerdown", (event) => event.preventDefault()); // the input keeps the focus
input.addEventListener("keydown", (event) => {
  if (event.isComposing) return;
  if (event.key === "Escape" && !list.hidden) close();
  else if (event.key === "ArrowDown" && list.hidden) suggest();
  else if (event.key === "ArrowDown") activate(active + 1);
  else if (event.key === "ArrowUp" && !list.hidden) activate(active - 1);
  else return;
  event.preventDefault();
});

/** Ask for what begins as the text in the box; without any, for the most frequent labels. */
async function suggest() {
  asking.abort();
  asking = new AbortController();
  const { signal } = asking;
  try {
    const said = new URLSearchParams({ q: input.value, limit: SUGGESTED });
    const found = await ask(`api/v1/suggest?${said}`, { signal });
    if (!signal.aborted && document.activeElement === input) open(found);
  } catch {
    // Suggestions are an aid: where the server is gone, the search itself says so.
    if (!signal.aborted) close();
  }
}

function open(found) {
  list.replaceChildren(...found.map(option));
  list.hidden = found.length === 0;
  input.setAttribute("aria-expanded", String(!list.hidden));
  activate(-1);
  $("status").textContent = found.length ? t("suggestions", { count: found.length }) : "";
}

function close() {
  clearTimeout(waiting);
  asking.abort();
  list.hidden = true;
  input.setAttribute("aria-expanded", "false");
  activate(-1);
}

function option({ text, kind, field, count }, number) {
  const item = element("li", "");
  item.id = `suggestion-${number}`;
  item.setAttribute("role", "option");
  const [shown, about] = [element("span", kind === "label" ? readable(text) : text), element("span", "")];
  shown.dir = "auto";
  about.className = "about";
  about.textContent = t("suggestion", { kind: KINDS[kind] ?? readable(field), photos: t("photos", { count }) });
  item.append(shown, about);
  return item;
}

/** Move to a suggestion; before the first and after the last is what is typed. */
function activate(number) {
  const { length } = list.children;
  active = number < -1 ? length - 1 : number >= length ? -1 : number;
  [...list.children].forEach((one, at) => one.setAttribute("aria-selected", String(at === active)));
  if (active < 0) input.removeAttribute("aria-activedescendant");
  else input.setAttribute("aria-activedescendant", `suggestion-${active}`);
  list.children[active]?.scrollIntoView({ block: "nearest" });
}

function take(option) {
  input.value = option.firstElementChild.textContent;
}

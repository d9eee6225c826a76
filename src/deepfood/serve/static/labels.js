// The gallery's labels with how many photos have each, as links to the lists of these.

import { ask } from "./ask.js";
import { $, announce, element, tell } from "./dom.js";
import { gallery, onChanged, readable } from "./gallery.js";
import { number, parts, t } from "./text.js";
import { browseAddress } from "./views.js";

const LISTED = 200;
const FEW = 12; // labels that need no field to find one
const PAUSE_MS = 150;
const WIDE = matchMedia("(min-width: 56rem)");

let known = null; // {labels, next, total, typed}
let asked = { sort: "newest", label: "" };
let waiting = 0;
let asking = new AbortController();

/** Draw the labels, of which one may be what is listed. */
export async function showLabels(wish) {
  asked = wish;
  if (known) return draw();
  $("labels").open = WIDE.matches;
  await gallery.loaded;
  return find("");
}

/** Ask for the labels that begin as typed, or for the next page of them. */
async function find(typed, before = null) {
  asking.abort();
  asking = new AbortController();
  const { signal } = asking;
  const said = new URLSearchParams({ q: typed, limit: LISTED, ...(before && { cursor: before.next }) });
  try {
    const { labels, next, total } = await ask(`api/v1/labels?${said}`, { signal });
    known = { labels: [...(before?.labels ?? []), ...labels], next, total, typed };
    draw();
    if (typed) announce($("labels-said").textContent);
    else if (!before) await sayPart(signal);
  } catch (problem) {
    if (signal.aborted) return;
    $("labels").hidden = false;
    tell($("labels-said"), { pieces: parts("labels.problem", { problem: problem.pieces }) });
  }
}

function draw() {
  const { labels, next, total, typed } = known;
  $("labels").hidden = !total && !typed;
  $("labels-find").hidden = total <= FEW && !typed;
  $("labels-said").textContent = typed ? t("labels.count", { count: total }) : "";
  const links = labels.map(({ label, count }) => link(label, count));
  $("labels-list").replaceChildren(...(typed ? [] : [link("", gallery.count)]), ...links);
  $("labels-more").hidden = !next;
}

function link(label, count) {
  const [item, made, many] = ["li", "a", "span"].map((tag) => document.createElement(tag));
  const name = element("span", label ? readable(label) : t("browse.all"));
  name.dir = "auto";
  many.textContent = count === null ? "" : number(count);
  made.append(name, " ", many);
  made.href = browseAddress({ ...asked, label });
  if (label === asked.label) made.setAttribute("aria-current", "true");
  item.append(made);
  return item;
}

/** An engine that cannot group looks at a part of very many photos. */
async function sayPart(signal) {
  const { counted, total } = await ask("api/v1/facets?limit=1", { signal });
  if (counted >= total) return;
  $("labels-part").textContent = t("labels.part", { counted, count: total });
  $("labels-part").hidden = false;
}

onChanged(() => (known = null));
$("labels-typed").addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(() => find($("labels-typed").value.trim()), PAUSE_MS);
});
$("labels-more").addEventListener("click", () => find(known.typed, known));
